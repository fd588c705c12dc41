package storetest

import "os"

// Repeat returns its first number, or, if the environment variable MESHPASS_STRESS is set,
// its second one: a stress run repeats what a test does more often.
func Repeat(ordinarily, underStress int) int {
	if os.Getenv("MESHPASS_STRESS") != "" {
		return underStress
	}
	return ordinarily
}
