/* Part of avx2_drawn.h and avx512_drawn.h, which have noise_of and strip_rows_of before it: expands the latter for the
 * plain square of whole strips, and for what is slower. */
#ifndef MHO_BASE_KERNELS_STRIP_OF_CODES_H
#define MHO_BASE_KERNELS_STRIP_OF_CODES_H

static void strip_of_codes(const int16_t *panel, size_t stride, size_t panels, size_t rows, const int16_t *law,
                           uint8_t *strip) {
    struct noise k[NOISE_STRIP / PANEL];
    const size_t pairs = (rows + 1) / 2;
    for (size_t i = 0; law && i < panels; i++) {
        k[i] = noise_of(law + i * 4 * PANEL);
    }
    if (law) {
        strip_rows_of(panel, stride, panels, pairs, k, false, strip);
    } else if (panels < NOISE_STRIP / PANEL) {
        strip_rows_of(panel, stride, panels, pairs, k, true, strip);
    } else {
        strip_rows_of(panel, stride, NOISE_STRIP / PANEL, pairs, k, true, strip);
    }
}

#endif
