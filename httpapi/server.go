package httpapi

import (
	"net/http"
	"time"
)

// NewServer returns an http.Server for the handler of [New], with the limits that keep
// slow or hostile clients from holding memory and connections: 5 seconds for the
// headers of a request and 16 KiB for their size, 30 seconds for a request, 2 minutes
// for an answer, which may be a list of a million ids, and 2 minutes for an idle
// connection. The caller sets the address and TLS, and limits the number of
// connections where the network does not, for example with
// golang.org/x/net/netutil.LimitListener.
func NewServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}
