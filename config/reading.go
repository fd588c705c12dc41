package config

import (
	"context"
	"log/slog"
	"reflect"
	"strings"
)

// A Reading says where a setting was read. It contains no value.
type Reading struct {
	// Setting is the path of the setting in a document of Kuma 3.0.
	Setting string

	// Name is the name under which it was read: a path in the document, or a variable.
	// It is empty if the setting was not read and its default needs a warning.
	Name string

	// Used is false if another reading of the setting takes precedence.
	Used bool

	// Warning says what an operator should know or change, in one sentence. It is empty
	// if there is nothing.
	Warning string
}

// Readings returns where every setting was read, in a fixed order, with warnings about
// names that later versions do not read, and about peers that are not authenticated. A
// setting that was not read is missing, unless its default needs a warning.
func (c Config) Readings() []Reading {
	v, _ := parseVersion(c.Meshpass.KumaVersion) // Check reports the error
	var list []Reading
	for _, s := range settings {
		used := c.used(s)
		for i := range c.readings {
			if r := &c.readings[i]; r.setting == s {
				list = append(list, Reading{s.path, r.name(), r == used, c.warning(r, r == used, v)})
			}
		}
		if used == nil && s.path == pathKDSType {
			if text, fatal := c.zonesNotAuthenticated(v); text != "" && !fatal {
				list = append(list, Reading{Setting: s.path, Used: true, Warning: text})
			}
		}
	}
	return list
}

// LogReadings logs [Config.Readings]: at Warn with the warning as the message, or at
// Info.
func (c Config) LogReadings(log *slog.Logger) {
	for _, r := range c.Readings() {
		level, message := slog.LevelInfo, "setting read"
		if r.Warning != "" {
			level, message = slog.LevelWarn, r.Warning
		}
		log.Log(context.Background(), level, message, "setting", r.Setting, "name", r.Name, "used", r.Used)
	}
}

func (c Config) warning(r *reading, used bool, v version) string {
	var sentences []string
	if used {
		switch path := r.setting.path; {
		case path == pathKDSType:
			if text, _ := c.zonesNotAuthenticated(v); text != "" {
				sentences = append(sentences, text)
			}
		case path == entryDPProxy+".type" && r.value == TypeNone:
			sentences = append(sentences, "proxies are not authenticated: the type is none")
		case path == entryZoneProxy+".type" && r.value == TypeNone:
			sentences = append(sentences, "zone proxies are not authenticated: the type is none")
		case path == pathZoneProxyIssuer && r.value == false && v.major == 0:
			sentences = append(sentences, "Kuma 3.0 ignores this and would issue zone tokens: set "+at(pathZoneIssuer).both(false)+" to false as well")
		case path == pathTokenInline && c.Multizone.Zone.KDS.Auth.TokenPath != "":
			sentences = append(sentences, "not in use: tokenPath takes precedence")
		}
	}
	if r.old && !v.readsOnlyOldNames() {
		sentences = append(sentences, "deprecated name, which Kuma 3.0 does not read: use "+r.setting.both(false)+r.otherWord())
	}
	return strings.Join(sentences, "; ")
}

// zonesNotAuthenticated returns a sentence if the configuration may be that of a global
// control plane and does not authenticate zone control planes. fatal means that it is
// an error.
func (c Config) zonesNotAuthenticated(v version) (text string, fatal bool) {
	global := c.Mode == ModeGlobal
	switch kind := c.Multizone.Global.KDS.Auth.Type; {
	case kind == TypeNone && (global || c.Mode == ""):
		return "zone control planes are not authenticated: the type is none", global && v.major == 3
	case kind == "" && global:
		return "zone control planes are not authenticated: the mode is global and no type is set", v.major != 2
	}
	return "", false
}

// reading is a setting that was read.
type reading struct {
	setting       *setting
	old, variable bool
	value         any // string, bool, Secret, or a pointer to a list of keys
}

func (r reading) name() string { return r.setting.name(r.old, r.variable) }

// entry names the reading in errors: by its path, and its variable if it was read there.
func (r reading) entry() string {
	if !r.variable {
		return r.name()
	}
	return r.setting.name(r.old, false) + " (from " + r.name() + ")"
}

// otherWord says that a value has another word under the new name.
func (r reading) otherWord() string {
	if r.setting.path == pathKDSType && r.value == oldZoneToken {
		return ", where " + oldZoneToken + " is called " + TypeZoneToken
	}
	return ""
}

// oldZoneToken is the name of TypeZoneToken under the old name of its setting.
const oldZoneToken = "cpToken"

// set returns the value that the field of the setting gets.
func (r reading) set() any {
	if r.old && r.setting.path == pathKDSType && r.value == oldZoneToken {
		return TypeZoneToken
	}
	return r.value
}

// same reports whether two readings set the same value.
func (r reading) same(other reading) bool {
	a, b := r.set(), other.set()
	if secret, ok := a.(Secret); ok {
		other, ok := b.(Secret)
		return ok && strings.TrimSpace(secret.Reveal()) == strings.TrimSpace(other.Reveal())
	}
	return reflect.DeepEqual(a, b)
}

// lastUnder returns the reading of a setting that counts under its old or its new name,
// or nil: a variable overrides a document.
func (c Config) lastUnder(s *setting, old bool) *reading {
	var last *reading
	for i, r := range c.readings {
		if r.setting == s && r.old == old && (last == nil || r.variable || !last.variable) {
			last = &c.readings[i]
		}
	}
	return last
}

// used returns the reading that sets a field, or nil. Check reports an error if the two
// names set different values.
func (c Config) used(s *setting) *reading {
	if r := c.lastUnder(s, false); r != nil {
		return r
	}
	return c.lastUnder(s, true)
}

// entry names a setting in errors, by where it was read.
func (c Config) entry(path string) string {
	if r := c.used(at(path)); r != nil {
		return r.entry()
	}
	return path
}

// take adds readings, and sets the fields.
func (c *Config) take(readings []reading) {
	c.readings = append(c.readings[:len(c.readings):len(c.readings)], readings...)
	for _, r := range readings {
		switch used := c.used(r.setting); field := r.setting.field(c).(type) {
		case *string:
			*field = used.set().(string)
		case *bool:
			*field = used.set().(bool)
		case *Secret:
			*field = used.set().(Secret)
		case *[]PublicKey:
			*field = *used.set().(*[]PublicKey)
		case *[]MeshPublicKey:
			*field = *used.set().(*[]MeshPublicKey)
		case *[]KeySource:
			*field = *used.set().(*[]KeySource)
		}
	}
}
