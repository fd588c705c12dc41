// Package walkthrough has scripts for every procedure of the documentation, with the tool and
// the control plane of the examples. Its test runs them.
package walkthrough
