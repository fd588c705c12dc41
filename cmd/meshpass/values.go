package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// text is the value of a flag that takes a text.
type text struct {
	target *string
	kind   string // such as "file"
}

func (t text) String() string {
	if t.target == nil {
		return ""
	}
	return *t.target
}

func (t text) Set(value string) error { *t.target = value; return nil }
func (t text) Type() string           { return t.kind }

// textFlag defines a flag whose help says what kind of text it takes.
func textFlag(flags *pflag.FlagSet, target *string, name, short, kind, usage string) {
	flags.VarP(text{target, kind}, name, short, usage)
}

// lifetime is the value of --valid-for.
type lifetime time.Duration

func (l *lifetime) String() string { return "" } // the help text has the default

func (l *lifetime) Type() string { return "duration" }

func (l *lifetime) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("want a duration in hours, minutes or seconds, such as 24h, or 720h for 30 days")
	}
	if d < time.Second {
		return fmt.Errorf("%s is too short, want at least 1s", d)
	}
	*l = lifetime(d)
	return nil
}

// tags is the value of --tag, which may be given several times. It takes one tag with its
// values, a=b,c, or as kumactl does several tags with one value each, a=b,c=d.
type tags map[string][]string

func (t *tags) String() string { return "" }

func (t *tags) Type() string { return "name=value,value" }

func (t *tags) Set(text string) error {
	type tag struct {
		name   string
		values []string
	}
	var list []tag
	mixed := false // several tags, and one of them has several values
	for i, piece := range strings.Split(text, ",") {
		name, value, named := strings.Cut(piece, "=")
		if !named {
			value = piece
		}
		switch {
		case i == 0 && !named, named && name == "", value == "":
			return errors.New("want a name and values, such as kuma.io/service=backend,backend-admin")
		case strings.Contains(value, "="):
			return errors.New("a value has a =, which no tag of a proxy has")
		case strings.Contains(piece, `"`):
			return errors.New(`found a ": leave it out, and give each tag a separate --tag`)
		case named:
			mixed = mixed || len(list) > 0 && len(list[len(list)-1].values) > 1
			list = append(list, tag{name, []string{value}})
		default:
			last := &list[len(list)-1]
			last.values = append(last.values, value)
			mixed = mixed || len(list) > 1
		}
	}
	if mixed {
		var separate []string
		for _, tag := range list {
			separate = append(separate, "--tag "+tag.name+"="+strings.Join(tag.values, ","))
		}
		return fmt.Errorf("it can be read in two ways, since a comma separates values in a=b,c and tags in a=b,c=d; give each tag a separate --tag, such as %s",
			strings.Join(separate, " "))
	}
	for _, tag := range list {
		if _, twice := (*t)[tag.name]; twice {
			return fmt.Errorf("tag %q appears twice, where kumactl takes the last one: give all values that are allowed in one --tag, such as a=b,c", tag.name)
		}
		if *t == nil {
			*t = tags{}
		}
		(*t)[tag.name] = tag.values
	}
	return nil
}

// oneOf refuses a value that is not in the list.
func oneOf(flag, value string, list []string) error {
	if slices.Contains(list, value) {
		return nil
	}
	last := len(list) - 1
	return usagef("%s: %q is not %s or %s", flag, value, strings.Join(list[:last], ", "), list[last])
}

// plain returns a foreign text for people to read. It quotes a text that could be
// mistaken for another or could control a terminal.
func plain(text string) string {
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == ',' }) {
		return fmt.Sprintf("%+q", text)
	}
	return text
}

func plainList(list []string) string {
	var quoted []string
	for _, text := range list {
		quoted = append(quoted, plain(text))
	}
	return strings.Join(quoted, ", ")
}

// plainTags returns a line for each tag.
func plainTags(tags map[string][]string) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		lines = append(lines, plain(name)+"="+plainList(tags[name]))
	}
	return lines
}

// when returns a time, and in words how far it is from now.
func (a *app) when(t time.Time) string {
	return t.UTC().Format(time.RFC3339) + ", " + inWords(t.Sub(a.now()))
}

// inWords returns in words how far away a time is, to the nearest unit.
func inWords(d time.Duration) string {
	const day = 24 * time.Hour
	past := d < 0
	d = d.Abs()
	text := ""
	switch {
	case d < time.Second:
		return "now"
	case d < 90*time.Second:
		text = count(d, time.Second, "second")
	case d < 90*time.Minute:
		text = count(d, time.Minute, "minute")
	case d < 48*time.Hour:
		text = count(d, time.Hour, "hour")
	case d < 2*365*day:
		text = count(d, day, "day")
	default:
		text = count(d, 365*day, "year")
	}
	if past {
		return text + " ago"
	}
	return "in " + text
}

func count(d, unit time.Duration, name string) string {
	n := int64(d.Round(unit) / unit)
	if n != 1 {
		name += "s"
	}
	return fmt.Sprintf("%d %s", n, name)
}
