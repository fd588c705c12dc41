package config

import (
	"errors"
	"fmt"
	"strconv"
)

// ApplyEnvironment overrides settings with their documented variables, under the names
// of every version. Pass os.LookupEnv. An empty variable counts as not set. Lists have
// no variables. The error names each variable that must be a boolean, as
// strconv.ParseBool accepts, and is not; it contains no value. Call ApplyEnvironment
// after the document is read.
func (c *Config) ApplyEnvironment(lookup func(name string) (string, bool)) error {
	if lookup == nil {
		return errors.New("config: ApplyEnvironment: the function that looks up variables is nil")
	}
	var readings []reading
	var problems []error
	for _, s := range settings {
		for _, old := range []bool{false, true} {
			r := reading{setting: s, old: old, variable: true}
			if r.name() == "" {
				continue
			}
			value, ok := lookup(r.name())
			if !ok || value == "" {
				continue
			}
			switch s.field(c).(type) {
			case *string:
				r.value = value
			case *Secret:
				r.value = NewSecret(value)
			case *bool:
				on, err := strconv.ParseBool(value)
				if err != nil {
					problems = append(problems, fmt.Errorf("config: variable %s is not a boolean, want true or false", r.name()))
					continue
				}
				r.value = on
			}
			readings = append(readings, r)
		}
	}
	c.take(readings)
	return errors.Join(problems...)
}
