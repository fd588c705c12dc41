package main

import (
	"fmt"
	"runtime/debug"
)

// version returns the version of the tool and, where the build knows it, the commit. One
// that was built in a clone knows the commit, one that was installed by version does not.
func version(build *debug.BuildInfo, known bool) string {
	if !known {
		return "of unknown version"
	}
	var commit, changed string
	for _, setting := range build.Settings {
		switch {
		case setting.Key == "vcs.revision":
			commit = setting.Value
		case setting.Key == "vcs.modified" && setting.Value == "true":
			changed = " with changes"
		}
	}
	if commit == "" {
		return build.Main.Version
	}
	return fmt.Sprintf("%s (commit %s%s)", build.Main.Version, commit, changed)
}
