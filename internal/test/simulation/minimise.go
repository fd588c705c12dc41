package simulation

import "strings"

// Minimise leaves out of a plan what it can while it fails in the same way: fails returns
// what is wrong, as Judge does. The result fails by the same rule, and does not without any
// one of its events or faults.
func Minimise(plan Plan, fails func(Plan) []string) Plan {
	rule := ruleOf(fails(plan))
	still := func(p Plan) bool {
		for _, wrong := range fails(p) {
			if ruleOf([]string{wrong}) == rule {
				return true
			}
		}
		return false
	}
	for smaller := true; smaller; {
		smaller = false
		plan.Events = leaveOut(plan.Events, &smaller, func(events []Event) bool { p := plan; p.Events = events; return still(p) })
		plan.Faults = leaveOut(plan.Faults, &smaller, func(faults []Fault) bool { p := plan; p.Faults = faults; return still(p) })
	}
	for plan.Settings.Replicas > 1 {
		p := plan
		p.Settings.Replicas--
		if usesReplica(p, p.Settings.Replicas) || !still(p) {
			break
		}
		plan = p
	}
	return plan
}

func usesReplica(p Plan, replica int) bool {
	for _, e := range p.Events {
		if e.Replica >= replica {
			return true
		}
	}
	return false
}

// ruleOf returns the rule that was broken first.
func ruleOf(wrong []string) string {
	if len(wrong) == 0 {
		return ""
	}
	rule, _, _ := strings.Cut(wrong[0], ":")
	return rule
}

// leaveOut leaves out parts of a list, at first large ones, as long as ok.
func leaveOut[T any](list []T, smaller *bool, ok func([]T) bool) []T {
	for size := max(len(list)/2, 1); ; size /= 2 {
		for at := 0; at < len(list); {
			rest := append(append([]T(nil), list[:at]...), list[min(at+size, len(list)):]...)
			if ok(rest) {
				list, *smaller = rest, true
			} else {
				at += size
			}
		}
		if size <= 1 {
			return list
		}
	}
}
