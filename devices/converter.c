/* Uniform symmetric converters, the plain reference: codes -limit..limit, limit = 2^(bits-1) - 1, step = range / limit.
 *
 * code(x) = clamp(round(x limit / range), -limit, limit), rounding half to even. Rounding before clamping and after it
 * give the same codes, since the range is a whole number of steps. Source: the static quantisers of aihwkit-lightning
 * (2^bits - 2 steps over the whole range). Real circuits, with gain, offset, unequal steps and
 * noise: adc.h, dac.h.
 */
#include <math.h>

#include "devices/device.h"

struct converter converter_make(int bits) {
    return (struct converter){bits, (1 << (bits - 1)) - 1};
}

int converter_code(struct converter c, double x, double range, bool *clamped) {
    double code = rint(x * (double)c.limit / range); /* the default rounding direction: half to even */
    double limited = fmin(fmax(code, -(double)c.limit), (double)c.limit);
    if (clamped) {
        *clamped = limited < code || limited > code;
    }
    return (int)limited;
}
