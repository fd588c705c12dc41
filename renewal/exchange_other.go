//go:build !linux

package renewal

import "errors"

func exchangeFiles(string, string) error { return errors.ErrUnsupported }

func isMounted(string) bool { return false }
