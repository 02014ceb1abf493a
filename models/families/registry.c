/* Every family that is known. A new one is one file here and one row. */
#include "models/shape.h"

extern const struct family family_llama, family_mistral, family_phi3, family_qwen2, family_qwen3, family_gemma2, family_gpt2;

const struct family *const families[] = {
    &family_llama, &family_mistral, &family_phi3, &family_qwen2, &family_qwen3, &family_gemma2, &family_gpt2, NULL,
};
