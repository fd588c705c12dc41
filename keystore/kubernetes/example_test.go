package kubernetes_test

import (
	"fmt"
	"log"

	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore/kubernetes"
)

// This control plane runs in the cluster, with a role of rbac.yaml.
func Example() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	store, err := kubernetes.Open(config, "kuma-system")
	if err != nil {
		log.Fatal(err)
	}
	validator, err := dataplane.NewValidator(store)
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	fmt.Println(validator.Staleness())
}
