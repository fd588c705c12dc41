package httpauth

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// writer returns the ResponseWriter for the handler. It is an http.Hijacker if the real one
// is, directly or by its methods Unwrap.
func (g *guard) writer() http.ResponseWriter {
	for w := g.of; ; {
		if _, ok := w.(http.Hijacker); ok {
			return hijackable{response{g}}
		}
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return response{g}
		}
		w = outer.Unwrap()
	}
}

// response is the ResponseWriter that a handler uses. It has the methods that
// http.ResponseController looks for, so that none of them passes by the guard.
type response struct{ g *guard }

// Header returns the header. After the end of the session it is one that is not sent.
func (w response) Header() http.Header {
	header := http.Header{}
	_ = w.g.unlessOver(func() error {
		header = w.g.of.Header()
		return nil
	})
	return header
}

func (w response) WriteHeader(status int) {
	final := status >= http.StatusOK || status == http.StatusSwitchingProtocols
	if w.g.begin(final) != nil {
		return
	}
	defer w.g.done()
	w.g.of.WriteHeader(status)
}

func (w response) Write(p []byte) (int, error) {
	return w.send(func() (int, error) { return w.g.of.Write(p) })
}

func (w response) WriteString(s string) (int, error) {
	return w.send(func() (int, error) { return io.WriteString(w.g.of, s) })
}

func (w response) send(write func() (int, error)) (n int, err error) {
	if err := w.g.begin(true); err != nil {
		return 0, err
	}
	defer func() {
		if over := w.g.done(); over != nil {
			err = over
		}
	}()
	return write()
}

// ReadFrom lets the server send a regular file without copying it. Other sources may
// block, so they are copied.
func (w response) ReadFrom(src io.Reader) (n int64, err error) {
	to, ok := w.g.of.(io.ReaderFrom)
	if !ok || !isRegularFile(src) {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	_, err = w.send(func() (int, error) {
		n, err = to.ReadFrom(src)
		return 0, err
	})
	return n, err
}

func isRegularFile(src io.Reader) bool {
	if limited, ok := src.(*io.LimitedReader); ok {
		src = limited.R
	}
	file, ok := src.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode().IsRegular()
}

func (w response) Flush() { _ = w.FlushError() }

func (w response) FlushError() error {
	_, err := w.send(func() (int, error) { return 0, w.g.control.Flush() })
	return err
}

func (w response) SetReadDeadline(deadline time.Time) error {
	return w.g.unlessOver(func() error { return w.g.control.SetReadDeadline(deadline) })
}

func (w response) SetWriteDeadline(deadline time.Time) error {
	return w.g.unlessOver(func() error { return w.g.control.SetWriteDeadline(deadline) })
}

func (w response) EnableFullDuplex() error {
	return w.g.unlessOver(w.g.control.EnableFullDuplex)
}

// Unwrap returns the real ResponseWriter, which does not know of the session.
func (w response) Unwrap() http.ResponseWriter { return w.g.of }

// hijackable is a response of a connection that can be hijacked.
type hijackable struct{ response }

func (w hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.g.hijack() }

// conn is a hijacked connection. Closing it releases the session.
type conn struct {
	net.Conn
	guard *guard
}

func (c *conn) Close() error {
	c.guard.unwatch()
	c.guard.release()
	return c.Conn.Close()
}

// NetConn returns the connection of the server, such as a *net.TCPConn or *tls.Conn.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite closes one direction, if the connection can.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

func (c *conn) ReadFrom(src io.Reader) (int64, error) { return io.Copy(c.Conn, src) }
func (c *conn) WriteTo(to io.Writer) (int64, error)   { return io.Copy(to, c.Conn) }

// body is the body of a request.
type body struct {
	io.ReadCloser
	g *guard
}

func (b *body) Read(p []byte) (n int, err error) {
	if err := b.g.begin(false); err != nil {
		return 0, err
	}
	defer func() {
		if over := b.g.done(); over != nil {
			n, err = 0, over
		}
	}()
	return b.ReadCloser.Read(p)
}

// Close does not read the rest after the end of the session.
func (b *body) Close() error {
	if err := b.g.begin(false); err != nil {
		return err
	}
	defer b.g.done()
	return b.ReadCloser.Close()
}
