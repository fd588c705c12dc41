package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/keystore/sealed"
)

const storesHelp = `Give the URL of a store with --store or MESHPASS_STORE:

  dir:PATH, file:///PATH
      A folder on this machine.

  postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full&search_path=SCHEMA
      PostgreSQL, with all parameters of its URLs. The password is in PGPASSWORD, in the file that PGPASSFILE
      names, or in ~/.pgpass. With table=kuma, the secrets in the database of a Kuma or Kong Mesh, in its own table.

  etcd://USER@HOST:PORT,HOST:PORT/PREFIX?cacert=FILE&cert=FILE&key=FILE&password-file=FILE
      etcd over TLS, with the system's authorities or that of cacert. The default prefix is /meshpass/. tls=off, only
      for tests, turns TLS off.

  kubernetes://NAMESPACE?context=NAME&kubeconfig=FILE
      Secrets in a namespace of Kubernetes, with the access of kubectl, or inside a pod, of the pod.

Every user of the machine can see the command line, so give a URL with a password only in MESHPASS_STORE.

If the records of the store are encrypted, --encryption-key-file names a file with the key, 32 random bytes.

"keys add --first" and "import" make the folder or the tables if they do not exist, and "restore" the folder. No other
command does. None makes the table of Kuma or a mesh in it.`

// openedStore is a store with a name that has no secret in it.
type openedStore struct {
	keystore.KeyStore
	name  string
	close func()
}

// storeURL is the parsed URL of a store. It does not use net/url, which accepts no
// lists of hosts and shows passwords in errors.
type storeURL struct {
	scheme string
	whole  string // may hold a password

	user, password string
	hosts          string // and ports, separated by commas
	path           string
	query          url.Values
}

// String returns the URL without the password and the query.
func (u storeURL) String() string {
	user := u.user
	if user != "" {
		user += "@"
	}
	return u.scheme + "://" + user + u.hosts + u.path
}

const wantURL = `want one such as dir:/var/lib/keys, postgres://user@host/database, etcd://host:2379 or kubernetes://namespace; see "meshpass help stores"`

func parseStoreURL(where place) (storeURL, error) {
	whole := where.store
	scheme, rest, ok := strings.Cut(whole, "://")
	if !ok {
		return storeURL{}, usagef("cannot read the URL of the store, %s", wantURL)
	}
	u := storeURL{scheme: scheme, whole: whole}
	// A password may have an unescaped ?. An @ after it is in the name of a parameter,
	// or ends the password, as in PostgreSQL's libpq.
	end := strings.IndexAny(rest, "@/")
	if strings.HasPrefix(scheme, "postgres") && end >= 0 && rest[end] == '@' && strings.Contains(rest[:end], "?") {
		return storeURL{}, errUserinfo
	}
	rest, query, _ := strings.Cut(rest, "?")
	var err error
	if u.query, err = url.ParseQuery(query); err != nil {
		return storeURL{}, usagef("cannot read the parameters after the ? in the URL of the store")
	}
	for name := range u.query {
		if strings.Contains(name, "@") {
			return storeURL{}, errUserinfo
		}
	}
	// A password with an unescaped slash ends at the last @, too.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, password, both := strings.Cut(rest[:at], ":")
		if both {
			u.password, err = url.PathUnescape(password)
		}
		var userErr error
		if u.user, userErr = url.PathUnescape(user); err != nil || userErr != nil {
			return storeURL{}, errUserinfo
		}
		if both && !where.fromEnvironment {
			return storeURL{}, errPassword
		}
		rest = rest[at+1:]
	}
	for name := range u.query {
		if strings.Contains(strings.ToLower(name), "password") && name != "password-file" && !where.fromEnvironment {
			return storeURL{}, errPassword
		}
	}
	u.hosts, u.path, _ = strings.Cut(rest, "/")
	if u.path != "" {
		u.path = "/" + u.path
	}
	return u, nil
}

var errUserinfo = &usageError{errors.New("cannot read the user and the password in the URL of the store: write special characters as % and their hexadecimal code")}

var errPassword = &usageError{errors.New("the URL of the store has a password, and every user of this machine can see the command line:" +
	" change the password, and set MESHPASS_STORE to the URL, or for PostgreSQL PGPASSWORD or PGPASSFILE, or for etcd add ?password-file=FILE")}

// allow refuses unknown parameters.
func (u storeURL) allow(names ...string) error {
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	for name := range u.query {
		if !known[name] {
			return usagef("the URL of the store has an unknown parameter %q, want %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

// sealer returns what encrypts the records of the store.
func (a *app) sealer() (sealed.Sealer, []sealed.Option, error) {
	key := make([]byte, encryptionKeyLength)
	_, _ = rand.Read(key) // never fails
	// Without a key this refuses encrypted records instead of reading them as ids.
	options := []sealed.Option{sealed.WritePlaintext()}
	if a.encryptionKeyFile != "" {
		var err error
		if key, err = a.readEncryptionKey(a.encryptionKeyFile); err != nil {
			return nil, nil, fmt.Errorf("--encryption-key-file: %w", err)
		}
		options = nil
	}
	sealer, err := sealed.NewAESGCM(key)
	if err != nil {
		return nil, nil, advise(fmt.Errorf("--encryption-key-file: %w", err), wantEncryptionKey)
	}
	return sealer, options, nil
}

// openStore opens the store. If prepare is true, it makes a missing folder or tables.
func (a *app) openStore(ctx context.Context, where place, prepare bool) (*openedStore, error) {
	sealer, options, err := a.sealer()
	if err != nil {
		return nil, err
	}
	opened, err := a.openEngine(ctx, where, prepare)
	if err != nil {
		return nil, err
	}
	if opened.KeyStore, err = sealed.New(opened.KeyStore, sealer, options...); err != nil {
		opened.close()
		return nil, err
	}
	return opened, nil
}

// readEncryptionKey reads 32 random bytes. What an editor or a shell made of them is
// another key, and some of them begin like a text.
func (a *app) readEncryptionKey(path string) ([]byte, error) {
	key, err := a.readSecret(path)
	if err != nil || len(key) == encryptionKeyLength {
		return key, err
	}
	text, err := plainText(path, key)
	if err == nil && bytes.HasPrefix(key, []byte("\ufeff")) {
		err = fmt.Errorf("%s begins with a byte order mark", nameOf(path))
	}
	if err != nil {
		return nil, advise(err, "a program has saved the key as a text: %s", wantEncryptionKey)
	}
	if len(text) == encryptionKeyLength {
		return nil, advise(fmt.Errorf("%s has white space around the %d bytes", nameOf(path), encryptionKeyLength), wantEncryptionKey)
	}
	return key, nil
}

const (
	encryptionKeyLength = 32
	wantEncryptionKey   = `want a file with 32 random bytes, as from "openssl rand -out FILE 32"`
)

func (a *app) openEngine(ctx context.Context, where place, prepare bool) (*openedStore, error) {
	scheme, path, _ := strings.Cut(where.store, ":")
	switch scheme {
	case "dir":
		return openDir(path, prepare)
	case "file":
		u, err := url.Parse(where.store)
		if err != nil || u.Path == "" || u.Host != "" || u.RawQuery != "" {
			return nil, usagef("cannot read the URL of the store, want file:///PATH or dir:PATH")
		}
		return openDir(u.Path, prepare)
	case "postgres", "postgresql", "etcd", "kubernetes":
	default:
		if isSecret(where.store) || strings.Contains(where.store, "://") {
			return nil, usagef("unknown store, %s", wantURL)
		}
		return nil, usagef("the store has no URL, %s", wantURL)
	}
	u, err := parseStoreURL(where)
	if err != nil {
		return nil, err
	}
	switch scheme {
	case "etcd":
		return a.openEtcd(ctx, u)
	case "kubernetes":
		return a.openKubernetes(u)
	}
	return a.openPostgres(ctx, u, prepare)
}

var errNoFolder = errors.New("there is no folder")

// openDir opens a folder. A missing folder is more likely a mistyped path than a
// store without keys.
func openDir(path string, prepare bool) (*openedStore, error) {
	if path == "" {
		return nil, usagef("the URL of the store names no folder, want one such as dir:./keys")
	}
	if strings.HasPrefix(path, "~") {
		return nil, usagef("the shell does not expand the ~ in dir:%s: write $HOME", path)
	}
	if !prepare {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, advise(fmt.Errorf("%w %s", errNoFolder, path), `check the path; "meshpass keys add --first" makes a new store there`)
		}
		if err == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s is a file, want a folder", path)
		}
	}
	store, err := dir.Open(path)
	if err != nil {
		return nil, advise(err, "choose a folder that you may use")
	}
	return &openedStore{store, "dir:" + path, func() {}}, nil
}
