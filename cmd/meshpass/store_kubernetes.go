package main

import (
	"fmt"

	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/meshpass/meshpass/keystore/kubernetes"
)

func (a *app) openKubernetes(u storeURL) (*openedStore, error) {
	if err := u.allow("context", "kubeconfig"); err != nil {
		return nil, err
	}
	if u.hosts == "" || u.path != "" || u.user != "" {
		return nil, usagef("the URL of the store must name a namespace and nothing else, such as kubernetes://kuma-system?context=production")
	}
	config, err := a.kubeconfig(u.query.Get("kubeconfig"), u.query.Get("context"))
	if err != nil {
		return nil, advise(fmt.Errorf("%s: %w", u, err), "add ?kubeconfig=FILE or ?context=NAME to the URL of the store, or set KUBECONFIG")
	}
	config.QPS = -1
	klog.SetSlogLogger(a.log()) // else client-go writes to standard error
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u, err)
	}
	store, err := kubernetes.New(client.Secrets(u.hosts))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u, err)
	}
	return &openedStore{store, u.String(), func() {}}, nil
}

// kubeconfig reads the configuration in a file, on standard input for "-", or where
// kubectl looks for it.
func (a *app) kubeconfig(path, context string) (*rest.Config, error) {
	overrides := &clientcmd.ConfigOverrides{CurrentContext: context}
	if path != "-" {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = path
		return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	}
	data, err := a.read(path)
	if err != nil {
		return nil, err
	}
	text, err := plainText(path, data)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.Load(text)
	if err != nil {
		return nil, err
	}
	return clientcmd.NewNonInteractiveClientConfig(*config, context, overrides, nil).ClientConfig()
}
