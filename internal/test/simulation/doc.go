// Package simulation simulates a deployment: replicas that issue, validate, hold sessions
// and change keys, lists and cutoffs over one modelled store, while the store fails in many
// ways and clocks go wrong.
//
// A [Plan] says all that happens and fails. [NewPlan] makes one from a seed, [Run] carries it
// out in simulated time, always in the same way, and returns a [History] of what could be
// seen from outside. [History.Judge] holds that against what the documents promise: it is the
// model, in model.go, and knows nothing of the code. [Minimise] cuts a plan that fails down
// to what is needed. Such plans are kept in testdata.
package simulation
