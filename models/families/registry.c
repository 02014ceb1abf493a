/* Every family that is known. A new one is a file or a table row here, its declaration in shape.h, and one line
 * below. */
#include "models/shape.h"

const struct family *const families[] = {
    &family_llama, &family_mistral, &family_phi3, &family_qwen2, &family_qwen3, &family_gemma2, &family_gpt2, NULL,
};
