package keystore

import "fmt"

const (
	// MaxScopeLength and MaxNameLength are in bytes.
	MaxScopeLength = 128
	MaxNameLength  = 253

	// The form of names, as the texts of errors have it.
	nameForm = "bytes of A-Z a-z 0-9 . _ -, the first a letter or a digit"
)

// CheckScope returns nil if a record can be in the scope: [Global], or a mesh
// whose name has 1 to 128 bytes, of A-Z a-z 0-9 . _ - and with a letter or a
// digit first. Otherwise the error matches [ErrName] and says what is wrong.
// CheckScope refuses [AllScopes]: no record is in it.
func CheckScope(scope Scope) error {
	switch scope {
	case Global:
		return nil
	case AllScopes:
		return fmt.Errorf("%w: %q stands for every scope, want a single one", ErrName, string(AllScopes))
	}
	return checkForm("scope", string(scope), MaxScopeLength)
}

// CheckName returns nil if a record can have the name: 1 to 253 bytes of A-Z a-z
// 0-9 . _ - with a letter or a digit first. Otherwise the error matches [ErrName]
// and says what is wrong.
func CheckName(name string) error {
	return checkForm("record name", name, MaxNameLength)
}

// CheckRecord returns nil if a store that takes maxData bytes of data can create
// the record. Otherwise the error matches [ErrName] or [ErrTooLarge]; it names the
// limit and never holds data. Create and Update of a store call CheckRecord right
// after they have checked that ctx has not ended.
func CheckRecord(r Record, maxData int) error {
	if err := CheckID(r.Scope, r.Name); err != nil {
		return err
	}
	return CheckSize(r.Scope, r.Name, int64(len(r.Data)), maxData)
}

// CheckSize returns nil if size bytes of data are within a store's limit of maxData.
// Otherwise the error matches [ErrTooLarge]. It is for a store that learns of the
// size before it has the data; [CheckRecord] includes it.
func CheckSize(scope Scope, name string, size int64, maxData int) error {
	if size <= int64(maxData) {
		return nil
	}
	return fmt.Errorf("%w: %s has %d bytes, the limit is %d", ErrTooLarge, describe(scope, name), size, maxData)
}

// CheckListed is [CheckScope] for List, which takes [AllScopes] too.
func CheckListed(scope Scope) error {
	if scope == AllScopes {
		return nil
	}
	return CheckScope(scope)
}

// CheckID returns nil if a record can have the scope and the name: [CheckScope]
// and [CheckName] together.
func CheckID(scope Scope, name string) error {
	if err := CheckScope(scope); err != nil {
		return err
	}
	return CheckName(name)
}

func checkForm(what, s string, maxLength int) error {
	problem := ""
	switch {
	case s == "":
		problem = "is empty"
	case len(s) > maxLength:
		problem = fmt.Sprintf("has %d bytes", len(s))
	case !alphanumeric(s[0]):
		problem = fmt.Sprintf("begins with %q", s[:1])
	default:
		for i := range len(s) {
			if c := s[i]; !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
				problem = fmt.Sprintf("has %q at byte %d", s[i:i+1], i)
				break
			}
		}
	}
	if problem == "" {
		return nil
	}
	return fmt.Errorf("%w: %s %.64q %s, want 1 to %d %s", ErrName, what, s, problem, maxLength, nameForm)
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
