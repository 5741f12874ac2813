// What routers by cosine share: cosines of tokens and experts' rows, and a learned temperature.
#pragma once

#include "engine/module.h"
#include "engine/tape.h"

namespace offshoot {

// [N, E]: cos(x_n, rows_e). x [N, D], rows [E, D]; a row of zeros has the cosine 0 with all.
Tensor cosines(Tape& tape, const Tensor& x, const Tensor& rows);

// "temperature" [1], whose tau starts at ln(1 / start).
Tensor first_temperature(const Scope& scope, double start);

// [1]: s = exp(min(tau, ln 100)), the cosines' factor.
Tensor cosine_factor(Tape& tape, Parameter& temperature);

}  // namespace offshoot
