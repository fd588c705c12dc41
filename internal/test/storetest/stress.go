package storetest

import "os"

// Repeat returns how often a test does a thing: as often as the ordinary tests do,
// or, in a run with the environment variable MESHPASS_STRESS set, as often as a
// stress run does.
func Repeat(ordinarily, underStress int) int {
	if os.Getenv("MESHPASS_STRESS") != "" {
		return underStress
	}
	return ordinarily
}
