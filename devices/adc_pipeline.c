/* Pipeline and cyclic converters of 1.5 bits per stage: the pipeline has one circuit per stage, the cyclic converter
 * sends its residue through one circuit again and again.
 *
 * Stage i of N - 1 compares v with -1/4 and +1/4 and decides d = -1, 0 or 1; its switched-capacitor amplifier of gain A
 * leaves the residue, with C1, C2 = 1 + sigma z,
 *   v' = ((C1 + C2) / C2 v - d C1 / C2) / (1 + (C1 + C2) / (C2 A))          ideal: 2 v - d
 * and one comparator at 0 ends the chain: code = sum d_i 2^(N-1-i) + (0 or -1). A threshold that is off by less than
 * 1/4 costs nothing (the next stage still sees |v'| <= 1): that is what the half bit is for.
 *
 * Closed form, to first order: where d of stage 1 steps (v = +-1/4) the decoded voltage jumps by
 *   1/2 - G/4 - r1/2 + r2/4   full scales (x 2^(N-1) for LSB),  G = 2 / (1 + 2 / A),  r_i = C1/C2 - 1 of stage i
 * (stage 2 decodes the residues +-1/2 there; stage 3 sees almost 0). Above 0 codes are missing, below 0 they repeat.
 * Independent stages: sd sqrt(2) sigma sqrt(1/4 + 1/16); one and the same (cyclic): sqrt(2) sigma / 4.
 * State of a stage: slope, DAC step, lower threshold, upper threshold; behind the last one, the final offset. Draws per
 * stage: C1, C2, two comparators; then the final comparator.
 * Sources: Lewis et al., IEEE JSSC 27, 1992 (1.5-bit stages; recalled); CrossSim 3.2 models the same circuits.
 * Not modelled: parasitic capacitance at the summing node, slewing, an amplifier that clips, noise per stage (noise_LSB
 * stands for all, at the input).
 */
#include "devices/adc_models.h"

enum { SLOPE, STEP, LOW, HIGH, PER_STAGE };
enum { MOST_STAGES = 13 };

struct pipeline {
    struct constant capacitor_mismatch, gain_dB, comparator_offset, noise_LSB;
};

static const struct param rows[] = {
    CONVERTER_CONSTANT("capacitor_mismatch", "", 0, 1, "relative sd of a capacitor of a stage", pipeline,
                       capacitor_mismatch),
    CONVERTER_CONSTANT("gain_dB", "dB", 20, 400, "gain of the amplifiers; 400 stands for infinite", pipeline, gain_dB),
    COMPARATOR_ROW(pipeline),
    NOISE_ROW(pipeline),
};

static size_t pipeline_states(const void *params, int bits) {
    (void)params;
    return (size_t)(bits - 1) * PER_STAGE + 1;
}

static size_t cyclic_states(const void *params, int bits) {
    (void)params;
    (void)bits;
    return PER_STAGE + 1;
}

/* `stages` circuits and the final comparator. */
static void make_stages(const struct pipeline *p, size_t stages, const float *z, float *state) {
    const double sigma = p->capacitor_mismatch.value, gain = pow(10, p->gain_dB.value / 20);
    const double offset = p->comparator_offset.value;
    for (size_t i = 0; i < stages; i++, z += PER_STAGE, state += PER_STAGE) {
        const double c1 = 1 + sigma * (double)z[0], c2 = 1 + sigma * (double)z[1];
        const double loss = 1 + (c1 + c2) / (c2 * gain);
        state[SLOPE] = (float)((c1 + c2) / c2 / loss);
        state[STEP] = (float)(c1 / c2 / loss);
        state[LOW] = (float)(-0.25 + offset * (double)z[2]);
        state[HIGH] = (float)(0.25 + offset * (double)z[3]);
    }
    *state = (float)(offset * (double)*z);
}

static void pipeline_make(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance,
                          float *state) {
    float z[MOST_STAGES * PER_STAGE + 1];
    converter_draws(seed, where, instance, z, pipeline_states(params, bits));
    make_stages(params, (size_t)(bits - 1), z, state);
}

static void cyclic_make(const void *params, int bits, uint64_t seed, uint64_t where, uint64_t instance, float *state) {
    float z[PER_STAGE + 1];
    converter_draws(seed, where, instance, z, cyclic_states(params, bits));
    make_stages(params, 1, z, state);
}

static double noise_sd(const void *params, int bits) {
    return ldexp(((const struct pipeline *)params)->noise_LSB.value, 1 - bits);
}

/* count <= BATCH values side by side, so that the compiler can use vectors. `next`: floats from one stage to the next;
 * 0 where all are one circuit. v is used up. */
static void chain(const float *state, size_t stride, size_t next, int bits, size_t count, double *v, double *codes) {
    for (size_t i = 0; i < count; i++) {
        codes[i] = 0;
    }
    for (int k = 0; k < bits - 1; k++) {
        const float *stage = state + (size_t)k * next;
        for (size_t i = 0; i < count; i++) {
            const double up = v[i] > (double)stage[i * stride + HIGH] ? 1 : 0;
            const double down = v[i] > (double)stage[i * stride + LOW] ? 0 : 1;
            v[i] = (double)stage[i * stride + SLOPE] * v[i] - (double)stage[i * stride + STEP] * (up - down);
            codes[i] = 2 * codes[i] + (up - down);
        }
    }
    const float *last = state + (next ? (size_t)(bits - 1) * next : PER_STAGE);
    for (size_t i = 0; i < count; i++) {
        codes[i] -= v[i] > (double)last[i * stride] ? 0 : 1;
    }
}

static void convert_chain(const void *params, int bits, const float *state, size_t stride, size_t next, const float *v,
                          const float *z, int32_t *codes, size_t n) {
    const double sd = noise_sd(params, bits);
    for (size_t done = 0; done < n; done += BATCH) {
        const size_t now = n - done < BATCH ? n - done : BATCH;
        double x[BATCH] = {0}, out[BATCH] = {0};
        for (size_t i = 0; i < now; i++) {
            x[i] = noisy_input(v, z, sd, done + i);
        }
        chain(state + done * stride, stride, next, bits, now, x, out);
        for (size_t i = 0; i < now; i++) {
            codes[done + i] = (int32_t)out[i];
        }
    }
}

static void pipeline_convert(const void *params, int bits, const float *state, size_t stride, const float *v,
                             const float *z, int32_t *codes, size_t n) {
    convert_chain(params, bits, state, stride, PER_STAGE, v, z, codes, n);
}

static void cyclic_convert(const void *params, int bits, const float *state, size_t stride, const float *v,
                           const float *z, int32_t *codes, size_t n) {
    convert_chain(params, bits, state, stride, 0, v, z, codes, n);
}

const struct adc_model adc_pipeline = {
    .name = "pipeline",
    .about = "pipeline of 1.5-bit stages, one switched-capacitor circuit each",
    .source = "Lewis et al., IEEE JSSC 27, 1992",
    .params = PARAM_TABLE("ADC circuit pipeline", rows),
    .params_bytes = sizeof(struct pipeline),
    .state_count = pipeline_states,
    .make = pipeline_make,
    .convert = pipeline_convert,
    .lowest = mid_rise_lowest,
    .highest = mid_rise_highest,
    .value = mid_rise_value,
    .noise_sd = noise_sd,
};

const struct adc_model adc_cyclic = {
    .name = "cyclic",
    .about = "cyclic (algorithmic) converter: one 1.5-bit stage used again for every bit",
    .source = "Lewis et al., IEEE JSSC 27, 1992",
    .params = PARAM_TABLE("ADC circuit cyclic", rows),
    .params_bytes = sizeof(struct pipeline),
    .state_count = cyclic_states,
    .make = cyclic_make,
    .convert = cyclic_convert,
    .lowest = mid_rise_lowest,
    .highest = mid_rise_highest,
    .value = mid_rise_value,
    .noise_sd = noise_sd,
};
