//go:build !linux

package renewal

import "errors"

func exchangeFiles(string, string) error { return errors.ErrUnsupported }
