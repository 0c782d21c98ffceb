package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"cocoon.farm/testbed/cluster/internal/pki"
	"cocoon.farm/testbed/cluster/internal/process"
)

const (
	// startPatience covers the slowest start seen, 25 s for the API server beside a compiler on the same two cores,
	// five times over.
	startPatience = 2 * time.Minute
	// healthPatience is for a process that was up before: a healthy one answers at once even on a busy machine.
	healthPatience = 20 * time.Second
	// endPatience covers containerd's orderly end, which waits for its plugins for up to 10 s.
	endPatience = 15 * time.Second
	// pollPause is the time between two looks at a condition.
	pollPause = 100 * time.Millisecond
	// answerPatience bounds one request.
	answerPatience = 5 * time.Second
	// maxAnswer bounds what is read of one answer: a list of two nodes with their images is some 20 KiB.
	maxAnswer = 4 << 20
)

// until repeats the check until it succeeds. The last failure is the error's cause; alive ends the wait early.
func until(ctx context.Context, patience time.Duration, alive func() error, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(pollPause)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if dead := alive(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready within %s: %w", patience, err)
		case <-ticker.C:
		}
	}
}

func running(id process.Identity) func() error {
	return func() error {
		if !id.Alive() {
			return process.ErrGone
		}
		return nil
	}
}

// answers is a check that the URL answers with success.
func answers(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := get(ctx, client, url)
		return err
	}
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer of %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, response.Status)
	}
	return body, nil
}

// newClient makes a client that trusts the authority, if one is given, and is the user of the certificate.
func newClient(authority string, user *pki.Pair) (*http.Client, error) {
	transport := &http.Transport{}
	client := &http.Client{Transport: transport, Timeout: answerPatience}
	if user == nil {
		return client, nil
	}
	root, err := os.ReadFile(authority)
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		return nil, fmt.Errorf("read certificate authority %s: no certificate in it", authority)
	}
	certificate, err := tls.LoadX509KeyPair(user.Certificate, user.Key)
	if err != nil {
		return nil, fmt.Errorf("load client certificate: %w", err)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	return client, nil
}

// readyNodes returns the names of the nodes whose kubelets report Ready.
func (c *Cluster) readyNodes(ctx context.Context) (map[string]bool, error) {
	body, err := get(ctx, c.admin, c.api("/api/v1/nodes"))
	if err != nil {
		return nil, err
	}
	return parseReadyNodes(body)
}

func parseReadyNodes(body []byte) (map[string]bool, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("read list of nodes: %w", err)
	}
	ready := map[string]bool{}
	for _, item := range list.Items {
		for _, condition := range item.Status.Conditions {
			if condition.Type == "Ready" && condition.Status == "True" {
				ready[item.Metadata.Name] = true
			}
		}
	}
	return ready, nil
}

// schedulable is a check that pods can be created and placed on every node.
func (c *Cluster) schedulable(count int) func(context.Context) error {
	return func(ctx context.Context) error {
		ready, err := c.readyNodes(ctx)
		if err != nil {
			return err
		}
		for _, node := range c.testbed.Nodes(count) {
			if !ready[node.Name] {
				return fmt.Errorf("%s is not Ready", node.Name)
			}
		}
		// The API server refuses pods of a namespace whose default service account is not there yet.
		_, err = get(ctx, c.admin, c.api("/api/v1/namespaces/default/serviceaccounts/default"))
		return err
	}
}

var errNotUp = errors.New("the cluster is not up: run `testbed-cluster up`")
