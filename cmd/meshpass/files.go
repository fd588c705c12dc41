package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/meshpass/meshpass/internal/rights"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const maxFile = 1 << 20 // bytes that the tool reads from a file

// read returns the content of a file, or of standard input for "-".
func (a *app) read(path string) ([]byte, error) {
	if isSecret(path) {
		return nil, usagef("want the path of a file, not its content: every user of this machine can see the command line")
	}
	from := a.in
	if path == "-" {
		if a.inRead {
			return nil, usagef(`"-" is given for two inputs, and standard input can be read only once: put one of them into a file`)
		}
		a.inRead = true
	} else {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, advise(fmt.Errorf("there is no file %q", path), "check the path")
		}
		if err != nil {
			return nil, advise(err, "choose a file that you may read")
		}
		defer file.Close()
		from = file
	}
	data, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", nameOf(path), maxFile)
	}
	if err != nil {
		return nil, advise(err, "check the path")
	}
	return data, nil
}

// readSecret is read for a file that only its owner should read.
func (a *app) readSecret(path string) ([]byte, error) {
	data, err := a.read(path)
	if err != nil || path == "-" {
		return data, err
	}
	if info, err := os.Stat(path); err == nil && othersRead(info) {
		a.say("warning: others can read %s (mode %04o): chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return data, nil
}

// othersRead reports whether others than the owner may read a file.
func othersRead(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows"
}

// readSigningKey reads a private key: PEM, base64 of PEM, or DER.
func (a *app) readSigningKey(path string) (*signing.PrivateKey, error) {
	data, err := a.readSecret(path)
	if err != nil {
		return nil, fmt.Errorf("--signing-key-path: %w", err)
	}
	key, err := signing.ParsePrivateKey(plainPEM(data))
	if err != nil {
		return nil, advise(fmt.Errorf("--signing-key-path: %s: %w", path, err),
			"make a signing key with: meshpass generate signing-key --format pem --output key.pem")
	}
	return key, nil
}

// readPublicKey reads a public key: PEM, base64 of PEM, or DER.
func (a *app) readPublicKey(flag, path string) (*signing.PublicKey, error) {
	data, err := a.read(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	key, err := signing.ParsePublicKey(plainPEM(data))
	if err != nil {
		return nil, advise(fmt.Errorf("%s: %s: %w", flag, path, err),
			"make the public key of a signing key with: meshpass generate public-key --signing-key-path key.pem")
	}
	return key, nil
}

// plainPEM undoes the base64 around PEM, if there is any.
func plainPEM(data []byte) []byte {
	text, err := token.PlainText(data)
	if err != nil {
		return data // to be refused by the parser of keys
	}
	decoded, err := base64.StdEncoding.DecodeString(string(text))
	if err == nil && bytes.HasPrefix(decoded, []byte("-----BEGIN")) {
		return decoded
	}
	return data
}

// readToken reads a token, without a byte order mark and white space around it.
func (a *app) readToken(path string) (string, error) {
	data, err := a.readSecret(path)
	if err != nil {
		return "", err
	}
	text, err := plainText(path, data)
	if err != nil {
		return "", err
	}
	if len(text) == 0 {
		return "", advise(fmt.Errorf("%s is empty", nameOf(path)), "want a token")
	}
	return string(text), nil
}

// plainText is token.PlainText with the name of the file in the error.
func plainText(path string, data []byte) ([]byte, error) {
	text, err := token.PlainText(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nameOf(path), err)
	}
	return text, nil
}

func nameOf(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}

// output is where a token or a key goes.
type output struct {
	file      string
	overwrite bool
	public    bool // the content is not a secret
}

func (o *output) flags(command *cobra.Command) {
	textFlag(command.Flags(), &o.file, "output", "o", "file", "write to this file instead of standard output; a new file has mode 0600")
	command.Flags().BoolVar(&o.overwrite, "overwrite", false, "replace the file of --output if it exists, atomically; it keeps owner, group and mode")
}

// check refuses an output that cannot be written, before there is a secret to write.
func (o *output) check() error {
	if o.file == "-" { // standard output
		o.file = ""
	}
	if o.file == "" {
		if o.overwrite {
			return usagef("--overwrite needs --output")
		}
		return nil
	}
	if isSecret(o.file) {
		return usagef("--output is a secret, want the path of a file")
	}
	file, err := rights.Follow(o.file)
	if err != nil {
		return advise(fmt.Errorf("--output: %w", err), "choose another name")
	}
	info, err := os.Lstat(file)
	switch {
	case err == nil && info.IsDir():
		return usagef("--output: %s is a folder, want a file", o.file)
	case err == nil && !info.Mode().IsRegular(): // such as /dev/null, which a rename would replace
		return usagef("--output: %s is not a regular file", o.file)
	case err == nil && !o.overwrite:
		return advise(fmt.Errorf("%s exists", o.file), "choose another name, or replace it with --overwrite")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if _, err := os.Stat(filepath.Dir(o.file)); err != nil {
		return advise(fmt.Errorf("there is no folder %s for --output", filepath.Dir(o.file)), "make it first")
	}
	return nil
}

// write writes the data to the file or to standard output. A file appears whole or
// not at all. One that is replaced keeps its owner, group, mode and links, and a new one
// belongs to the owner of its folder.
func (a *app) write(o output, data []byte) (err error) {
	if o.file == "" {
		if file, ok := a.out.(*os.File); ok && !o.public {
			if info, err := file.Stat(); err == nil && othersRead(info) {
				a.say("warning: others can read the file on standard output (mode %04o): use --output, or umask 077", info.Mode().Perm())
			}
		}
		_, err := a.out.Write(data)
		if err == nil && isTerminal(a.out) && !bytes.HasSuffix(data, []byte("\n")) {
			fmt.Fprintln(a.err) // the prompt goes on its own line
		}
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot write %s: %w", o.file, rights.Explain(".", err))
		}
	}()
	file, err := rights.Follow(o.file)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), ".meshpass-*")
	if err != nil {
		return advise(err, "choose a folder that you may write to")
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(data)
	err = errors.Join(err, temporary.Chmod(0o600), giveRights(temporary, file), temporary.Sync())
	info, statErr := temporary.Stat()
	if err = errors.Join(err, statErr, temporary.Close()); err != nil {
		return err
	}
	if o.overwrite {
		err = os.Rename(temporary.Name(), file)
	} else {
		err = renameToNew(temporary.Name(), file)
	}
	if err == nil && !o.public && othersRead(info) {
		a.say("warning: others can read %s (mode %04o, as before): chmod 600 %s", o.file, info.Mode().Perm(), o.file)
	}
	return err
}

// giveRights gives a temporary file the rights of the file that it will be.
func giveRights(temporary *os.File, file string) error {
	old, err := os.Open(file)
	if err == nil {
		defer old.Close()
		return rights.Keep(temporary, old)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	folder, err := os.Stat(filepath.Dir(file))
	if err != nil {
		return err
	}
	return rights.Inherit(temporary, folder, false)
}

// renameToNew renames a file, unless there is one of the new name.
func renameToNew(from, to string) error {
	// Unlike a rename, a link does not replace a file that another process has just made.
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// This file system may have no links.
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "create", Path: to, Err: fs.ErrExist}
	}
	return os.Rename(from, to)
}

func isTerminal(file any) bool {
	f, ok := file.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
