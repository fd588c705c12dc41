package dir

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/meshpass/meshpass/internal/rights"
	"github.com/meshpass/meshpass/keystore"
)

// sealName is the last entry of a backup. Its content is sealText, with the number of
// records and a hash over all of them.
const (
	sealName = ".meshpass-backup"
	sealText = "meshpass backup 1\nrecords %d\nsha256 %s\n"

	maxSeal = 1 << 10 // bytes

	syncing = 16 // files that a restore brings to the disk at a time
)

// Backup writes all records of the store to w, in one consistent view, and returns how
// many there are. If one of them cannot be read, it writes nothing and returns the error
// of [Store.List]. It keeps all records in memory, and does not keep writers waiting while
// it writes to w.
//
// The backup is a tar archive of the files below the store's folder, with ordinary names
// that any tar program lists and unpacks. The last entry, .meshpass-backup, holds a
// SHA-256 hash over all records. It protects against damage, not against an attacker.
//
// The backup holds the private keys, unless the records are sealed: keep it as safe as
// the folder.
func (s *Store) Backup(ctx context.Context, w io.Writer) (records int, err error) {
	all, err := s.List(ctx, keystore.AllScopes, "")
	if err != nil {
		return 0, err
	}
	archive := tar.NewWriter(w)
	sum := sha256.New()
	for _, r := range all {
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("keystore: cannot write the backup: %w", err)
		}
		addRecord(sum, r)
		if err := addFile(archive, fileOf(r.Scope, r.Name), r.Data, r.Created); err != nil {
			return 0, fmt.Errorf("keystore: cannot write the backup: %w", err)
		}
	}
	seal := fmt.Appendf(nil, sealText, len(all), hex.EncodeToString(sum.Sum(nil)))
	if err := errors.Join(addFile(archive, sealName, seal, time.Now()), archive.Close()); err != nil {
		return 0, fmt.Errorf("keystore: cannot write the backup: %w", err)
	}
	return len(all), nil
}

func addFile(archive *tar.Writer, name string, data []byte, modified time.Time) error {
	if err := archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: modified, Format: tar.FormatPAX,
	}); err != nil {
		return err
	}
	_, err := archive.Write(data)
	return err
}

func addRecord(sum hash.Hash, r keystore.Record) {
	fmt.Fprintf(sum, "%s %d %d\n", fileOf(r.Scope, r.Name), r.Created.UnixNano(), len(r.Data))
	sum.Write(r.Data)
}

// readBackup reads and checks a whole backup.
func readBackup(ctx context.Context, from io.Reader) ([]keystore.Record, error) {
	archive := tar.NewReader(from)
	sum := sha256.New()
	var all []keystore.Record
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		entry, err := archive.Next()
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("the file ends too early, or no Backup has made it: it has no entry %s at its end", sealName)
		}
		if err != nil {
			return nil, fmt.Errorf("the file is damaged, or is no backup: %w", err)
		}
		if entry.Name == sealName {
			seal, err := io.ReadAll(io.LimitReader(archive, maxSeal))
			if err != nil {
				return nil, fmt.Errorf("the file is damaged: %w", err)
			}
			if string(seal) != fmt.Sprintf(sealText, len(all), hex.EncodeToString(sum.Sum(nil))) {
				return nil, errors.New("the file is damaged: its records are not those that the backup was made of")
			}
			return all, nil
		}
		scope, name, ok := recordOf(entry.Name)
		if !ok || entry.Typeflag != tar.TypeReg {
			return nil, fmt.Errorf("the file is no backup: %q in it is not the file of a record", entry.Name)
		}
		if err := keystore.CheckSize(scope, name, entry.Size, maxData); err != nil {
			return nil, err
		}
		r := keystore.Record{Scope: scope, Name: name, Created: entry.ModTime.UTC()}
		if r.Data, err = io.ReadAll(archive); err != nil {
			return nil, fmt.Errorf("the file is damaged, or ends too early: %w", err)
		}
		if n := len(all); n > 0 && keystore.CompareRecords(all[n-1], r) >= 0 {
			return nil, fmt.Errorf("the file is no backup: %q comes after %q", entry.Name, all[n-1].Name)
		}
		r.Version = versionOf(r.Data)
		addRecord(sum, r)
		all = append(all, r)
	}
}

// recordOf returns the record with this file.
func recordOf(file string) (scope keystore.Scope, name string, ok bool) {
	if encoded, global := strings.CutPrefix(file, globalFolder+"/"); global {
		name, ok = decodeName(encoded)
		return keystore.Global, name, ok && keystore.CheckName(name) == nil
	}
	encoded, _ := strings.CutPrefix(file, meshesFolder+"/")
	for at := range encoded {
		if encoded[at] != '/' {
			continue
		}
		mesh, ok := decodeName(encoded[:at])
		name, nameOK := decodeName(encoded[at+1:])
		if scope := keystore.Scope(mesh); ok && nameOK && fileOf(scope, name) == file && keystore.CheckID(scope, name) == nil {
			return scope, name, true
		}
	}
	return "", "", false
}

// Restore replaces all records of the store by those of a backup that [Store.Backup] has
// made. Records that are not in the backup are removed. It first reads and checks the
// whole backup; if that is damaged or cut off, it changes nothing. Other processes may
// use the store meanwhile: a List sees the state before or the restored one, and writes
// wait. While the records are replaced and brought to the disk, a List or a Get may fail:
// it waits for 1.5 s at most.
//
// Tokens that were revoked after the backup would be valid again. So merge, unless it is
// nil, is called with the present records and with those of the backup, both in memory,
// and may change the latter, for instance to keep the revoked ids. No write comes between
// the call and the restored state. If merge returns an error, or if a present record
// cannot be read for it, Restore changes nothing.
//
// If the process or the machine dies while Restore replaces the records, all reads and
// writes fail until Restore has been called again.
func (s *Store) Restore(ctx context.Context, from io.Reader, merge func(ctx context.Context, present, backup keystore.KeyStore) error) error {
	records, err := readBackup(ctx, from)
	if err == nil {
		err = s.restore(ctx, records, merge)
	}
	if err != nil {
		return fmt.Errorf("keystore: cannot restore: %w", err)
	}
	return nil
}

func (s *Store) restore(ctx context.Context, records []keystore.Record, merge func(ctx context.Context, present, backup keystore.KeyStore) error) error {
	return s.exclusively(ctx, func(root *os.Root) error {
		present, err := filesOf(root)
		if err != nil {
			return err
		}
		if merge != nil {
			if records, err = s.merged(ctx, root, records, merge); err != nil {
				return err
			}
		}
		v := newView(root)
		for _, r := range records {
			v.folderOf(r.Scope)
		}
		if err := v.checkWritable(keystore.Global); err != nil {
			return err
		}
		replacement := &replacement{root: root}
		defer replacement.forget()
		for _, r := range records {
			file := fileOf(r.Scope, r.Name)
			old, known := present[file]
			delete(present, file)
			if known && old.Version == r.Version && old.Created.Equal(r.Created) {
				continue
			}
			replacement.files = append(replacement.files, replaced{file: file, record: r})
		}
		for file := range present {
			replacement.files = append(replacement.files, replaced{file: file, removed: true})
		}
		return replacement.make(ctx)
	})
}

// filesOf returns the files of all present records. Those that cannot be read have no
// Version.
func filesOf(root *os.Root) (map[string]keystore.Record, error) {
	v := newView(root)
	defer v.close()
	scopes, err := readScopes(v)
	if err != nil {
		return nil, err
	}
	files := map[string]keystore.Record{}
	for _, scope := range scopes {
		v.folderOf(scope)
	}
	if err := v.checkWritable(keystore.Global); err != nil {
		return nil, err
	}
	for _, scope := range scopes {
		entries, err := readNames(root, folderOf(scope))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if info, err := root.Lstat(entry.file); err == nil && info.IsDir() {
				return nil, fmt.Errorf("%s is not a regular file", entry.file)
			}
			r, _ := readRecord(root, entry.file, scope, entry.name, nil)
			files[entry.file] = r.WithoutData()
		}
	}
	return files, nil
}

// merged returns what merge makes of the records of a backup.
func (s *Store) merged(ctx context.Context, root *os.Root, records []keystore.Record, merge func(ctx context.Context, present, backup keystore.KeyStore) error) ([]keystore.Record, error) {
	var here found
	if err := believe(ctx, func() error {
		return readSteady(ctx, root, func(v *view) error {
			err := s.listView(ctx, v, keystore.AllScopes, "", here.begin())
			return cmp.Or(err, keystore.Unreadable(here.unreadable))
		})
	}); err != nil {
		return nil, err
	}
	present, err := inMemory(ctx, here.records)
	if err != nil {
		return nil, err
	}
	backup, err := inMemory(ctx, records)
	if err != nil {
		return nil, err
	}
	if err := merge(ctx, present, backup); err != nil {
		return nil, err
	}
	created := make(map[recordID]time.Time, len(records))
	for _, r := range records {
		created[recordID{r.Scope, r.Name}] = r.Created
	}
	if records, err = backup.List(ctx, keystore.AllScopes, ""); err != nil {
		return nil, err
	}
	for i, r := range records {
		if at, ok := created[recordID{r.Scope, r.Name}]; ok {
			records[i].Created = at
		}
		records[i].Version = versionOf(r.Data)
	}
	return records, nil
}

func inMemory(ctx context.Context, records []keystore.Record) (keystore.KeyStore, error) {
	store := keystore.NewMemory()
	for _, r := range records {
		if _, err := store.Create(ctx, r); err != nil {
			return nil, err
		}
	}
	return store, nil
}

// replacement is a change of many files that takes effect at one moment for every List.
type replacement struct {
	root  *os.Root
	files []replaced
}

type replaced struct {
	file    string
	target  string          // to which file leads, if it is a link
	record  keystore.Record // the new content
	temp    string          // the file with the new content, or ""
	removed bool            // there is no new content
}

// make makes the change. The caller holds the write lock.
func (p *replacement) make(ctx context.Context) error {
	// After a restore that was interrupted nothing is believed until this one is complete.
	interrupted := checkFinished(p.root) != nil
	giveUp := func(err error) error {
		if interrupted {
			return err
		}
		return errors.Join(err, appendMarker(p.root, change{verb: endsAll}, false))
	}
	if !interrupted {
		if err := appendMarker(p.root, change{verb: prepares}, false); err != nil {
			return orReadOnly(err) // without the marker, a crash would go unnoticed
		}
	}
	if err := p.prepare(ctx); err != nil {
		return giveUp(err)
	}
	if err := appendMarker(p.root, change{verb: beginsAll}, true); err != nil {
		return giveUp(err)
	}
	begun := false
	err := takeEffect(ctx, p.root, func() error {
		begun = true
		return p.replace()
	})
	if !begun {
		return giveUp(err)
	}
	if err == nil {
		err = p.sync()
	}
	if err == nil {
		err = appendMarker(p.root, change{verb: endsAll}, true)
	}
	if err != nil {
		return fmt.Errorf("the records may be in part old and in part restored, and no process reads them: mend the cause and restore again: %w", err)
	}
	return nil
}

// replace puts the new content in place.
func (p *replacement) replace() error {
	for i, f := range p.files {
		if f.removed {
			if err := p.root.Remove(f.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if err := p.root.Rename(f.temp, f.target); err != nil {
			return err
		}
		p.files[i].temp = ""
	}
	for _, f := range p.files {
		if f.removed {
			removeEmptyFolders(p.root, path.Dir(f.file))
		}
	}
	return nil
}

// write writes the new content of a file beside it. The content gets the rights of the
// present file, or those of a new one.
func (p *replacement) write(f *replaced) (err error) {
	if f.target, err = followLinks(p.root, f.file); err != nil {
		return err
	}
	folder := folderOfFile(f.target)
	info, err := p.root.Stat(folder)
	if err != nil {
		return err
	}
	f.temp, _, err = writeTemp(p.root, folder, f.record.Data, f.record.Created, func(temp *os.File) error {
		old, err := openFile(p.root, f.target, openNonblock)
		if err != nil { // there is none, or it cannot be read
			return rights.Inherit(temp, info, true)
		}
		defer old.Close()
		return rights.Keep(temp, old)
	})
	if err != nil {
		f.temp = ""
	}
	return err
}

// prepare writes the new content beside the files.
func (p *replacement) prepare(ctx context.Context) error {
	for _, f := range p.files {
		if !f.removed {
			if err := makeFoldersIn(p.root, path.Dir(f.file)); err != nil {
				return orReadOnly(err)
			}
		}
	}
	next := make(chan int)
	failed := make([]error, syncing)
	var writers sync.WaitGroup
	for w := range failed {
		writers.Go(func() {
			for i := range next {
				f := &p.files[i]
				if err := p.write(f); err != nil {
					failed[w] = orReadOnly(err)
				}
			}
		})
	}
	for i, f := range p.files {
		if !f.removed && ctx.Err() == nil {
			next <- i
		}
	}
	close(next)
	writers.Wait()
	return errors.Join(append(failed, ctx.Err())...)
}

// sync brings the names of the files to the disk.
func (p *replacement) sync() error {
	done := map[string]bool{}
	for _, f := range p.files {
		folder := path.Dir(f.file)
		for f.removed && folder != "." { // which may be gone with its last file
			if _, err := p.root.Lstat(folder); err == nil {
				break
			}
			folder = path.Dir(folder)
		}
		for ; !done[folder]; folder = path.Dir(folder) { // with the folders above, each once
			if err := syncFolder(p.root.OpenFile(folder, os.O_RDONLY|openFolder, 0)); err != nil {
				return err
			}
			done[folder] = true
		}
	}
	return nil
}

// forget removes what prepare has written and make has not used.
func (p *replacement) forget() {
	for _, f := range p.files {
		if f.temp != "" {
			p.root.Remove(f.temp)
		}
	}
}
