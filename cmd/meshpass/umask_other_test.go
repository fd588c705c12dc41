//go:build !unix

package main

import "testing"

// Modes mean nothing here.
func requireOnlyOwner(*testing.T, string) {}
