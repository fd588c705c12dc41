// Package simulation simulates a deployment: replicas that issue, validate, hold sessions
// and change keys, lists and cutoffs over one modelled store, while the store fails in many
// ways and clocks go wrong. The replicas are the real code; store, clocks and time are not.
//
// A [Plan] says all that happens and fails. [NewPlan] makes one from a seed, [Run] carries it
// out in simulated time, and returns a [History] of what could be seen from outside. It does so
// nearly always in the same way. There are two exceptions, where two things happen at the same
// moment: tokens leave because a read has found their key, and the replica makes one more read
// for them or not; and a read takes longer than a quarter of a second, and a token that waits for it
// leaves, or waits for the next one. [History.Judge] holds a history against what the documents promise: it is the
// model, in model.go, and knows nothing of the code. history.go has what it looks up: clocks, keys,
// how long faults lasted, and what a change is about. [Minimise] cuts a plan that fails down
// to what is needed. Such plans are kept in testdata.
//
// The model judges that
//
//   - what is revoked, cut off, pruned or signed by a removed key is refused within the bound;
//   - a good token is not refused, and "could not know" has a reason;
//   - no answer takes longer than a token may wait;
//   - a session ends with its token, in time and no sooner;
//   - no serial is given twice, the newest key signs, and not before the publish delay;
//   - nothing is issued that is refused, and a cutoff until now spares no older token;
//   - a renewed token is dated as the first one, is for the same proxy, and for no longer;
//   - pruning leaves no floor that is higher than the stated lifetime allows;
//   - in the end all replicas agree.
//
// It can be believed since its own tests are histories made by hand, good and bad, and since
// .ci/planted-simulation plants ten bugs in the code, which it must find.
package simulation
