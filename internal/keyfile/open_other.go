//go:build !unix

package keyfile

// dontWait is nothing where files have no named pipes among them.
const dontWait = 0
