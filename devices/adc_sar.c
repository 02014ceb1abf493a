/* Successive approximation with a binary capacitor array, plain or split by a bridge capacitor.
 *
 * The search takes the sign first, then N - 1 bits of the magnitude X from the top. A bit is compared with the level
 * that the capacitor array makes of it (full scale = 1, q = 2^-N, A = amplifier gain, s = +1 or -1):
 *   plain   C_n = 2^n (1 + sigma z_n 2^(-n/2)), n < N;  S = 2^(N-1) + sigma z_N 2^((N-1)/2)  (the sampling side)
 *           T = sum b_n C_n,  level = (s T / C_(N-1) + q) / (1 + (S + T) / (S A)) - q
 *   split   H = floor(N/2) bits below the bridge: C_n = 2^n + sigma z_n 2^(n/2) for n < H, then 2^(n-H) + sigma z_n
 *           2^((n-H)/2) up to n = N - 2; end capacitor D = 1 + sigma z_(N-1), k = 2^H / (2^H - 1), bridge
 *           B = k + sigma z_N sqrt(k); L = D + sum of the lower C, M = sum of the upper C; with l and m the same sums
 *           over the bits set:  T = (l B + m (L + B)) / ((L + B)(M + B) - B^2),  level = (s T + q) / (1 + 1/A) - q
 * x > level - offset keeps the bit, offset = comparator_offset z_c. sigma: relative mismatch of a unit capacitor.
 *
 * Both levels have the form (s T' + q) / (a + b T') - q with T' a sum of one weight per bit, which is what an instance
 * keeps: a, b, offset, N - 1 weights (order of draws: z_0 .. z_N, z_c). Towards negative codes the search collects
 * the bits that are not kept: code = -1 - X.
 *
 * Closed form (plain, A infinite): middle transition exact; DNL where bit n of the magnitude takes over from all lower
 * ones has the variance sigma^2 (2^n + 2^n - 1) in LSB^2, if the array's own gain is left aside.
 * Source: equations of the SAR model of CrossSim 3.2 (Sandia, BSD-3), whose levels and codes a test reproduces. There
 * all converters of a matrix share one draw; here each has its own.
 * Not modelled: settling of the array, charge injection, parasitic capacitors.
 */
#include "devices/adc_models.h"

enum { SLOPE_A, SLOPE_B, OFFSET, WEIGHTS };
enum { MOST_BITS = 14 };

struct sar {
    bool split;
    struct constant capacitor_mismatch, gain_dB, comparator_offset, noise_LSB;
};

static const struct param rows[] = {
    {"split", PARAM_BOOL, "", 0, 0, "off", "capacitor array in two halves with a bridge capacitor",
     offsetof(struct sar, split), NULL},
    CONVERTER_CONSTANT("capacitor_mismatch", "", 0, 1, "relative sd of a unit capacitor", sar, capacitor_mismatch),
    CONVERTER_CONSTANT("gain_dB", "dB", 20, 400, "gain of the amplifier; 400 stands for infinite", sar, gain_dB),
    COMPARATOR_ROW(sar),
    NOISE_ROW(sar),
};

static size_t state_count(const void *params, int bits) {
    (void)params;
    return (size_t)(WEIGHTS + bits - 1);
}

/* C = 2^e units, each with its own deviation. */
static double capacitor(int e, double sigma, float z) { return ldexp(1, e) + sigma * (double)z * sqrt(ldexp(1, e)); }

static void plain_state(const struct sar *p, int bits, const float *z, double gain, float *state) {
    const double sigma = p->capacitor_mismatch.value, top = capacitor(bits - 1, sigma, z[bits - 1]);
    for (int n = 0; n < bits - 1; n++) {
        state[WEIGHTS + n] = (float)(capacitor(n, sigma, z[n]) / top);
    }
    state[SLOPE_A] = (float)(1 + 1 / gain);
    state[SLOPE_B] = (float)(top / (capacitor(bits - 1, sigma, z[bits]) * gain));
}

static void split_state(const struct sar *p, int bits, const float *z, double gain, float *state) {
    const double sigma = p->capacitor_mismatch.value;
    const int half = bits / 2;
    const double k = ldexp(1, half) / (ldexp(1, half) - 1), bridge = k + sigma * (double)z[bits] * sqrt(k);
    double lower = 1 + sigma * (double)z[bits - 1], upper = 0, c[MOST_BITS];
    for (int n = 0; n < bits - 1; n++) {
        c[n] = capacitor(n < half ? n : n - half, sigma, z[n]);
        *(n < half ? &lower : &upper) += c[n];
    }
    const double determinant = (lower + bridge) * (upper + bridge) - bridge * bridge;
    for (int n = 0; n < bits - 1; n++) {
        state[WEIGHTS + n] = (float)(c[n] * (n < half ? bridge : lower + bridge) / determinant);
    }
    state[SLOPE_A] = (float)(1 + 1 / gain);
    state[SLOPE_B] = 0;
}

void sar_state(const void *params, int bits, const float *cap_z, float comparator_z, float *state) {
    const struct sar *p = params;
    const double gain = pow(10, p->gain_dB.value / 20);
    (p->split ? split_state : plain_state)(p, bits, cap_z, gain, state);
    state[OFFSET] = (float)(p->comparator_offset.value * (double)comparator_z);
}

static void make(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance, float *state) {
    float z[MOST_BITS + 2];
    converter_draws(seed, where, instance, z, (size_t)bits + 2);
    sar_state(params, bits, z, z[bits + 1], state);
}

static double noise_sd(const void *params, int bits) {
    return ldexp(((const struct sar *)params)->noise_LSB.value, 1 - bits);
}

/* count <= BATCH values side by side, so that the compiler can use vectors; x already holds offset and q. A level is
 * compared without a division, since a + b T > 0. Above 0 a bit is taken where x is above the level; below 0 where it
 * is not: the same with both signs turned, and a tie taken. */
static void search(const float *state, size_t stride, int bits, const double *x, double q, size_t count,
                   double *codes) {
    double a[BATCH], b[BATCH], sign[BATCH], tie[BATCH], sum[BATCH], magnitude[BATCH];
    for (size_t i = 0; i < count; i++) {
        a[i] = (double)state[i * stride + SLOPE_A];
        b[i] = (double)state[i * stride + SLOPE_B];
        sign[i] = x[i] * a[i] > q ? 1 : -1;
        tie[i] = x[i] * a[i] > q ? 0 : -1e-300;
        sum[i] = magnitude[i] = 0;
    }
    for (int n = bits - 2; n >= 0; n--) {
        const double bit = (double)((int32_t)1 << n);
        for (size_t i = 0; i < count; i++) {
            const double weight = (double)state[i * stride + WEIGHTS + (size_t)n], trial = sum[i] + weight;
            const double above = x[i] * (a[i] + b[i] * trial) - (sign[i] * trial + q);
            const double take = sign[i] * above > tie[i] ? 1 : 0;
            sum[i] += take * weight;
            magnitude[i] += take * bit;
        }
    }
    for (size_t i = 0; i < count; i++) {
        codes[i] = sign[i] > 0 ? magnitude[i] : -1 - magnitude[i];
    }
}

static void convert(const void *params, int bits, const float *state, size_t stride, const float *v, const float *z,
                    int32_t *codes, size_t n) {
    const double sd = noise_sd(params, bits), q = ldexp(1, -bits);
    for (size_t done = 0; done < n; done += BATCH) {
        const size_t now = n - done < BATCH ? n - done : BATCH;
        const float *mine = state + done * stride;
        double x[BATCH] = {0}, out[BATCH] = {0};
        for (size_t i = 0; i < now; i++) {
            x[i] = noisy_input(v, z, sd, done + i) + (double)mine[i * stride + OFFSET] + q;
        }
        search(mine, stride, bits, x, q, now, out);
        for (size_t i = 0; i < now; i++) {
            codes[done + i] = (int32_t)out[i];
        }
    }
}

const struct adc_model adc_sar = {
    .name = "sar",
    .about = "successive approximation, capacitor array plain or split",
    .source = "SAR model of CrossSim 3.2",
    .params = PARAM_TABLE("ADC circuit sar", rows),
    .params_bytes = sizeof(struct sar),
    .state_count = state_count,
    .make = make,
    .convert = convert,
    .lowest = mid_rise_lowest,
    .highest = mid_rise_highest,
    .value = mid_rise_value,
    .noise_sd = noise_sd,
};
