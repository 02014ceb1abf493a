/* Private to models/adapt/: exp for `real`; in fp32 the polynomial of models/vector_math.h, for vector code. */
#ifndef MHO_MODELS_ADAPT_STUDENT_MATH_H
#define MHO_MODELS_ADAPT_STUDENT_MATH_H

#include "models/adapt/real.h"
#include "models/exp_inline.h"

#ifdef REAL_IS_DOUBLE
static inline real real_exp(real x) { return exp(x); }
#else
static inline real real_exp(real x) { return exp_one(x); }
#endif

#endif
