package keystore

import "fmt"

const (
	maxScopeLength = 128
	maxNameLength  = 253

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
	return checkForm("scope", string(scope), maxScopeLength)
}

// CheckName returns nil if a record can have the name: 1 to 253 bytes of A-Z a-z
// 0-9 . _ - with a letter or a digit first. Otherwise the error matches [ErrName]
// and says what is wrong.
func CheckName(name string) error {
	return checkForm("record name", name, maxNameLength)
}

// CheckRecord returns nil if a store that takes maxData bytes of data can create
// the record. Otherwise the error matches [ErrName] or [ErrTooLarge]; it names the
// limit and never holds data. A store calls CheckRecord first in Create and
// Update, once it knows that ctx has not ended.
func CheckRecord(r Record, maxData int) error {
	if err := CheckScope(r.Scope); err != nil {
		return err
	}
	if err := CheckName(r.Name); err != nil {
		return err
	}
	if len(r.Data) > maxData {
		return tooLarge(r.Scope, r.Name, int64(len(r.Data)), maxData)
	}
	return nil
}

// checkListed is CheckScope for List, which takes AllScopes too.
func checkListed(scope Scope) error {
	if scope == AllScopes {
		return nil
	}
	return CheckScope(scope)
}

func checkID(scope Scope, name string) error {
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

// about adds to an error which record it is about.
func about(err error, scope Scope, name string) error {
	return fmt.Errorf("%w: %s", err, describe(scope, name))
}

// failed is about for errors that are not the contract's own.
func failed(doing string, scope Scope, name string, err error) error {
	return fmt.Errorf("keystore: cannot %s %s: %w", doing, describe(scope, name), err)
}

func cannotList(scope Scope, err error) error {
	switch scope {
	case AllScopes:
		return fmt.Errorf("keystore: cannot list all scopes: %w", err)
	case Global:
		return fmt.Errorf("keystore: cannot list the global scope: %w", err)
	}
	return fmt.Errorf("keystore: cannot list scope %q: %w", string(scope), err)
}

func describe(scope Scope, name string) string {
	if scope == Global {
		return fmt.Sprintf("%q in the global scope", name)
	}
	return fmt.Sprintf("%q in scope %q", name, string(scope))
}

func tooLarge(scope Scope, name string, size int64, maxData int) error {
	return fmt.Errorf("%w: %s has %d bytes, the limit is %d", ErrTooLarge, describe(scope, name), size, maxData)
}
