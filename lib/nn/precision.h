/*
 * precision.h - which operation computes in which dtype.
 *
 * Precision is a property of the plan. The table below is autocast's (pytorch
 * aten/src/ATen/autocast_mode.h): convolutions and matrix products in the
 * compute dtype with wide accumulation, norms with fp32 statistics, pools, relu
 * and sums in the dtype of their input, logits and losses in fp32. Master
 * weights, gradients, momentum and statistics stay in the parameter dtype.
 */
#ifndef NN_PRECISION_H
#define NN_PRECISION_H

#include "nn/graph.h"

/* Dtype of the value of an operation when the plan computes in `compute` and
 * parameters are `pt`. */
enum dtype precision_of(enum op op, enum dtype compute, enum dtype pt);

#endif
