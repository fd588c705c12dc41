package dir

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/meshpass/meshpass/internal/rights"
	"github.com/meshpass/meshpass/keystore"
)

// The marker is a file to which every write of a Store appends what it changes: one
// line before the change takes effect, and one when it is done. Watches and Lists read
// it. A crash between the lines loses no announcement: as long as the last line is the
// one of a change that may still take effect, a watch looks at that scope at each of its
// ticks. There is at most one such change, since the writer holds the write lock.
//
// The first line is the epoch, random and made with the file. A marker only grows, until
// it is replaced by one of the same epoch that has its latest lines. So a reader that
// finds its latest line where it was knows that it has missed nothing, and a reader that
// finds an older marker, another one or none knows that another program has put that
// there: a restore goes on.
//
// The lines need not survive a crash of the machine, after which no reader remembers an
// older one. A marker that cannot be written, on a full disk or without the right, keeps
// no change from being made: a watch finds it when it looks at the files.
const (
	markerFile = ".changes"
	markerTemp = ".changes.new"

	// Each epoch line begins with markerHead.
	markerHead = "meshpass changes "

	maxMarker = 1 << 20 // bytes; then the older half goes
	maxLine   = 1 << 10 // bytes in a line, and more than any has
)

// verb says what a line of the marker announces.
type verb string

const (
	begins verb = "begin" // a change of one record, in force soon
	ends   verb = "end"   // the same, in force or failed

	// All records are replaced. While beginsAll is the last line, the records may be in
	// part old and in part new.
	beginsAll verb = "restore"
	endsAll   verb = "restored"

	// New files are written beside the records, which do not change.
	prepares verb = "prepare"
)

const (
	// gone stands in a line in the place of a version if the record is deleted.
	gone = "-"

	// failed stands in the line that ends a change in the place of its version if the
	// change has not come into force. The record is as it was.
	failed = "failed"
)

// change is a line of the marker.
type change struct {
	number  uint64 // one more than that of the line before
	at      time.Time
	verb    verb
	id      recordID
	version string // of the record's new data, or gone; at the end perhaps failed
}

func (c change) String() string {
	return fmt.Sprintf("%d %d %s %s %s %s\n", c.number, c.at.UnixMilli(), c.verb, c.id.scope, c.id.name, c.version)
}

func parseChange(line string) (c change, ok bool) {
	fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if len(fields) != 6 {
		return change{}, false
	}
	number, err := strconv.ParseUint(fields[0], 10, 64)
	milliseconds, atErr := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || atErr != nil {
		return change{}, false
	}
	c = change{number, time.UnixMilli(milliseconds), verb(fields[2]), recordID{keystore.Scope(fields[3]), fields[4]}, fields[5]}
	switch c.verb {
	case begins, ends, beginsAll, endsAll, prepares:
		return c, c.String() == line
	}
	return change{}, false
}

// announce tells the readers of the marker that a record is about to be changed. The
// caller holds the write lock, and calls done when the change is in force or has failed.
func announce(root *os.Root, scope keystore.Scope, name, version string) (done func(inForce bool)) {
	c := change{verb: begins, id: recordID{scope, name}, version: version}
	_ = appendMarker(root, c, false) // see above: no reason to give up the write
	return func(inForce bool) {
		if c.verb = ends; !inForce {
			c.version = failed
		}
		_ = appendMarker(root, c, false)
	}
}

// appendMarker appends a line to the marker. It numbers and dates it. The caller holds
// the write lock.
func appendMarker(root *os.Root, c change, sync bool) error {
	c.at = time.Now()
	f, err := openMarker(root, os.O_RDWR|os.O_APPEND)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, errNoMarker) {
		return newMarker(root, markerHead+rand.Text()+"\n", c, sync)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	last, size, err := lastLine(f)
	if err != nil {
		return err
	}
	before, ok := parseChange(last)
	switch {
	case !hasEpoch(f) || !ok && size != int64(len(last)): // a crash of the machine, or another program
		return newMarker(root, markerHead+rand.Text()+"\n", c, sync)
	case size > maxMarker:
		kept, err := latestHalf(f)
		if err != nil {
			return err
		}
		c.number = before.number + 1
		return newMarker(root, kept, c, sync)
	}
	c.number = before.number + 1
	if _, err = f.WriteString(c.String()); err != nil {
		return errors.Join(err, f.Truncate(size)) // half a line would hide the next one
	}
	if sync {
		err = f.Sync()
	}
	return err
}

// errNoMarker: something else is in the place of the marker.
var errNoMarker = fmt.Errorf("%s is not a regular file", markerFile)

// openMarker opens the marker. A read of a named pipe could wait for ever.
func openMarker(root *os.Root, flags int) (*os.File, error) {
	f, err := root.OpenFile(markerFile, flags|openNonblock, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNoMarker
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// newMarker puts a new marker in the place of the present one.
func newMarker(root *os.Root, lines string, c change, sync bool) error {
	// A killed writer may have left one. Whatever is there, a new file takes its place: it
	// may be a link to a file of the user of this process.
	if err := root.Remove(markerTemp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(markerTemp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	folder, err := root.Stat(".")
	if err == nil {
		_, err = f.WriteString(lines + c.String())
	}
	if err == nil {
		err = rights.Inherit(f, folder, true) // or root's marker would be closed to the others
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(markerTemp, markerFile)
	}
	if err != nil {
		root.Remove(markerTemp)
		return err
	}
	if sync {
		return syncFolders(root, ".")
	}
	return nil
}

func isEpoch(line string) bool {
	return strings.HasPrefix(line, markerHead) && strings.HasSuffix(line, "\n") && len(line) < maxLine
}

// hasEpoch reports whether a file begins with an epoch: readers use no other.
func hasEpoch(f *os.File) bool {
	head := make([]byte, maxLine)
	n, _ := f.ReadAt(head, 0)
	return isEpoch(string(head[:bytes.IndexByte(head[:n], '\n')+1]))
}

// lastLine returns the last line of a file, whole or not, and the size of the file.
func lastLine(f *os.File) (line string, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	size = info.Size()
	tail := make([]byte, min(size, maxLine))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return "", 0, err
	}
	return string(tail[bytes.LastIndexByte(bytes.TrimSuffix(tail, []byte("\n")), '\n')+1:]), size, nil
}

// latestHalf returns the epoch of a marker and the latest of its lines.
func latestHalf(f *os.File) (string, error) {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 2*maxMarker))
	if err != nil {
		return "", err
	}
	epoch := data[:bytes.IndexByte(data, '\n')+1]
	half := data[len(data)/2:]
	return string(epoch) + string(half[bytes.IndexByte(half, '\n')+1:]), nil
}

// place is how far a reader has read the marker. The zero place is that of a reader that
// has found no marker.
type place struct {
	epoch  string
	line   string // the last one
	offset int64  // of line
}

// reading is how a marker goes on after a place.
type reading int

const (
	goesOn   reading = iota
	isAhead          // lines are missing in between
	wentBack         // another program has replaced or removed the marker
	isUnread         // this process cannot read the marker: it tells nothing
)

// since reads the marker from a place on. It returns the lines after the place, and the
// place of the last line.
func (p place) since(root *os.Root) (lines []string, now place, how reading) {
	f, err := openMarker(root, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoMarker) {
		if p == (place{}) {
			return nil, p, goesOn
		}
		return nil, place{}, wentBack
	}
	if err != nil {
		return nil, p, isUnread
	}
	defer f.Close()
	if p.line != "" {
		data, err := io.ReadAll(io.NewSectionReader(f, p.offset, 2*maxMarker))
		if err != nil {
			return nil, p, isUnread
		}
		if text := string(data); strings.HasPrefix(text, p.line) {
			lines, now = p.after(text, len(p.line), p.offset)
			return lines, now, goesOn
		}
	}
	text, err := readMarker(f)
	if err != nil {
		return nil, p, isUnread
	}
	end := strings.IndexByte(text, '\n') + 1
	if !isEpoch(text[:end]) {
		if p == (place{}) {
			return nil, p, goesOn
		}
		return nil, place{}, wentBack
	}
	now = place{epoch: text[:end], line: text[:end]}
	if p == (place{}) {
		lines, now = now.after(text, end, 0)
		return lines, now, isAhead
	}
	if at := strings.Index(text, "\n"+p.line); p.epoch == now.epoch && at >= 0 {
		lines, now = now.after(text, at+1+len(p.line), 0)
		return lines, now, goesOn
	}
	lines, now = now.after(text, end, 0)
	how = wentBack
	if p.epoch == now.epoch && len(lines) > 0 {
		first, ok := parseChange(lines[0])
		if before, known := parseChange(p.line); ok && (!known || first.number > before.number+1) {
			how = isAhead
		}
	}
	return lines, now, how
}

// after returns the whole lines of text from an index on, and the place of the last line.
// text begins at the given offset of the marker.
func (p place) after(text string, from int, offset int64) ([]string, place) {
	whole := text[from : strings.LastIndexByte(text, '\n')+1]
	var lines []string
	for line := range strings.Lines(whole) {
		lines = append(lines, line)
		p.line, p.offset = line, offset+int64(from)
		from += len(line)
	}
	if len(lines) == 0 && from > 0 { // the line that ends there is the last
		start := strings.LastIndexByte(text[:from-1], '\n') + 1
		p.line, p.offset = text[start:from], offset+int64(start)
	}
	return lines, p
}

// last returns the change in the last line that was read.
func (p place) last() change {
	c, _ := parseChange(p.line)
	return c
}

func readMarker(f *os.File) (string, error) {
	data, err := io.ReadAll(io.LimitReader(f, 2*maxMarker))
	return string(data), err
}
