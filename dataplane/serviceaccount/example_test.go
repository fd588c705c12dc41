package serviceaccount_test

import (
	"context"
	"errors"
	"log"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/dataplane/serviceaccount"
	"github.com/meshpass/meshpass/token"
)

// An HTTP server of a control plane, in a Pod of its own.
func Example() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	config.QPS = -1 // the validator limits its rate itself
	client, err := authenticationv1.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	validator, err := serviceaccount.NewValidator(client.TokenReviews(), []string{"mesh.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()

	http.HandleFunc("GET /config", func(w http.ResponseWriter, r *http.Request) {
		raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		verified, err := validator.Validate(r.Context(), raw)
		if err == nil {
			err = verified.Permits(podAt(r.RemoteAddr))
		}
		switch {
		case errors.Is(err, token.ErrNotPermitted):
			http.Error(w, "the token does not permit this", http.StatusForbidden)
			return
		case errors.Is(err, token.ErrInvalid):
			http.Error(w, "the token was not accepted", http.StatusUnauthorized)
			return
		case err != nil:
			http.Error(w, "the token could not be checked", http.StatusServiceUnavailable)
			return
		}
		ctx, stop := verified.Bind(r.Context()) // ends when the token expires
		defer stop()
		serveConfig(ctx, w)
	})
	log.Fatal(http.ListenAndServeTLS(":8443", "tls.crt", "tls.key", nil))
}

// podAt stands for what a control plane knows of the Pods, from an informer for
// example.
func podAt(string) serviceaccount.Pod { return serviceaccount.Pod{} }

func serveConfig(context.Context, http.ResponseWriter) {}
