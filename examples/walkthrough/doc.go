// Package walkthrough has ten scripts, one for each procedure of an operator. They use the
// tool meshpass and the example controlplane. Its test runs them.
package walkthrough
