// This file checks whether components are ready.

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
	"net/url"
	"os"
	"strings"
	"time"

	"dask-operator/testbed/netns"
	"dask-operator/testbed/pki"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

// httpReady returns a check that a GET of url succeeds from inside the node's network namespace.
func (c *cluster) httpReady(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		transport := &http.Transport{DialContext: netns.Dialer(c.namespace()), DisableKeepAlives: true}
		if strings.HasPrefix(url, "https:") {
			authority, err := os.ReadFile(c.cert(pki.CA))
			if err != nil {
				return err
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(authority)
			transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s returned %s", url, response.Status)
		}
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
}

// apiServerReady checks /readyz at the address that users have.
func (c *cluster) apiServerReady(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// defaultServiceAccountReady checks that the default service account exists, without which no pod can be created.
func (c *cluster) defaultServiceAccountReady(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	_, err = client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	return err
}

func (c *cluster) runtimeConnection() (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+c.ContainerdSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func (c *cluster) containerdReady(ctx context.Context) error {
	conn, err := c.runtimeConnection()
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := runtimeapi.NewRuntimeServiceClient(conn).Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return err
	}
	for _, condition := range answer.GetStatus().GetConditions() {
		if !condition.GetStatus() {
			return fmt.Errorf("condition %s is false: %s", condition.GetType(), condition.GetMessage())
		}
	}
	return nil
}

// kubeletReady checks that the kubelet is healthy and that it has reported the node as ready since it was started. A status
// that an earlier kubelet reported does not count.
func (c *cluster) kubeletReady(ctx context.Context) error {
	if err := c.httpReady("http://127.0.0.1:10248/healthz")(ctx); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	record, err := os.Stat(c.Record(kubelet))
	if err != nil {
		return err
	}
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	// Times in the API have a resolution of one second.
	started := record.ModTime().Truncate(time.Second)
	for _, condition := range node.Status.Conditions {
		switch {
		case condition.Type != corev1.NodeReady:
		case condition.Status != corev1.ConditionTrue:
			return fmt.Errorf("the node is not ready: %s", condition.Message)
		case condition.LastHeartbeatTime.Time.Before(started):
			return errors.New("the kubelet has not reported the node's status yet")
		default:
			return nil
		}
	}
	return errors.New("the node has no Ready condition yet")
}

// kubeletKnowsPods checks that a restarted kubelet has received the pods of its node. Until then it refuses to show their
// logs and to run commands in them.
func (c *cluster) kubeletKnowsPods(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	onNode := metav1.ListOptions{FieldSelector: "spec.nodeName=" + nodeName}
	pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, onNode)
	if err != nil || len(pods.Items) == 0 {
		return err
	}
	answer, err := client.CoreV1().RESTClient().Get().
		Resource("nodes").Name(nodeName).SubResource("proxy").Suffix("pods").DoRaw(ctx)
	if err != nil {
		return err
	}
	var known corev1.PodList
	if err := json.Unmarshal(answer, &known); err != nil {
		return err
	}
	uids := map[types.UID]bool{}
	for _, pod := range known.Items {
		uids[pod.UID] = true
	}
	for _, pod := range pods.Items {
		if !uids[pod.UID] {
			return fmt.Errorf("the kubelet has not received the pod %s/%s yet", pod.Namespace, pod.Name)
		}
	}
	return nil
}
