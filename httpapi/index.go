package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// An Index is the answer to GET /, which names the product. Kuma's tools ask for it: see
// [WithIndex]. As JSON it has the fields of Kuma's answer, in the same order.
type Index struct {
	// BasedOnKuma is the version of Kuma that a product is based on. Kuma itself does not
	// have it.
	BasedOnKuma string `json:"basedOnKuma,omitempty"`

	ClusterID  string `json:"clusterId"`  // the same on every server of the control plane
	GUI        string `json:"gui"`        // the path or the URL of the user interface
	Hostname   string `json:"hostname"`   // of the server
	InstanceID string `json:"instanceId"` // of the server
	Product    string `json:"product"`    // required; "Kuma" or "Kong Mesh" for kumactl
	Version    string `json:"version"`    // required; such as "2.10.11"
}

// WithIndex answers GET / to every client with the index. Neither the function of
// [WithAdmission] nor the authoriser is asked, since "kumactl config control-planes add"
// sends no credentials: publish only what everyone may know. Product and Version are
// required. Other fields are sent as they are, and tools do not read them. Without this
// option the answer to GET / is 404.
//
// kumactl refuses a control plane whose Product is not its own: "Kuma", or "Kong Mesh" for
// that of Kong Mesh. It warns at each call if Version is not its own, unless Version
// contains "preview". The index changes nothing else: for what the versions do
// differently see [WithRules].
func WithIndex(index Index) Option {
	return func(h *handler) error {
		for name, text := range map[string]string{"Product": index.Product, "Version": index.Version} {
			if strings.TrimSpace(text) == "" {
				return fmt.Errorf("WithIndex: %s is empty", name)
			}
		}
		if h.index != nil {
			return errors.New("WithIndex is given twice")
		}
		h.index = marshal(index)
		return nil
	}
}

// isIndex reports whether the path is that of the index, also behind http.StripPrefix.
func isIndex(r *http.Request) bool {
	path := r.URL.EscapedPath()
	return path == "" || path == "/"
}

func (h *handler) serveIndex(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.fail(r.Context(), w, Request{}, methodNotAllowed(w, map[string]Action{http.MethodGet: "", http.MethodHead: ""}))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(h.index) // fails only if the client is gone
}
