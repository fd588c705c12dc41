package kubernetes_test

import (
	"fmt"
	"log"

	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
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
	config.QPS = -1 // the API server limits its clients itself
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	store, err := kubernetes.New(client.Secrets("kuma-system"))
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
