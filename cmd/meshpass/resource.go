package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/token"
)

// readProxy reads the resource of a proxy, as a control plane reads it from a node.
func (a *app) readProxy(path string) (dataplane.Proxy, error) {
	data, err := a.read(path)
	if err != nil {
		return dataplane.Proxy{}, fmt.Errorf("--dataplane: %w", err)
	}
	text, err := plainText(path, data)
	if err != nil {
		return dataplane.Proxy{}, fmt.Errorf("--dataplane: %w", err)
	}
	proxy, err := proxyOf(string(text))
	if err != nil {
		reason := strings.TrimPrefix(err.Error(), token.ErrNotPermitted.Error()+": ")
		return dataplane.Proxy{}, advise(fmt.Errorf("--dataplane: %s: %s", nameOf(path), reason),
			`want the resource that kuma-dp gets, or what "kumactl get dataplane NAME -o yaml" prints`)
	}
	return proxy, nil
}

func proxyOf(text string) (dataplane.Proxy, error) {
	var header struct {
		Type string `yaml:"type"`
		Kind string `yaml:"kind"`
		Mesh string `yaml:"mesh"`
		Name string `yaml:"name"`
	}
	if err := yaml.Unmarshal([]byte(text), &header); err != nil {
		return dataplane.Proxy{}, errors.New("it is neither YAML nor JSON of a Dataplane")
	}
	switch {
	case header.Kind != "":
		return dataplane.Proxy{}, fmt.Errorf("it is a %.32q of Kubernetes, where proxies have no dataplane tokens", header.Kind)
	case header.Type == "ZoneIngress" || header.Type == "ZoneEgress":
		return dataplane.Proxy{}, fmt.Errorf("it is a %s, which has a zone token in 2.x and does not exist in 3.0", header.Type)
	}
	metadata, err := structpb.NewStruct(map[string]any{xdsauth.MetadataResource: text})
	if err != nil {
		return dataplane.Proxy{}, err
	}
	return xdsauth.ResolveNode(context.Background(), &corev3.Node{Id: header.Mesh + "." + header.Name, Metadata: metadata})
}
