// Command agent drives the franz-go client: it answers the commands of ../README.md on standard
// input; as `agent latency` it measures end-to-end latency, and as `agent load` it produces for
// `scripts/test crash`.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const requestTime = 20 * time.Second

func main() {
	programs := map[string]func([]string) error{"latency": latency, "load": load}
	if len(os.Args) > 1 && programs[os.Args[1]] != nil {
		if err := programs[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: agent HOST:PORT | agent latency|load OPTION...")
		os.Exit(2)
	}
	if err := serve(&agent{bootstrap: os.Args[1]}); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

type agent struct {
	bootstrap string
	shared    *kgo.Client
	member    *kgo.Client
	events    eventLog
}

// fields of a command; each command reads those it names.
type fields struct {
	Do         string             `json:"do"`
	Topic      string             `json:"topic"`
	Topics     []string           `json:"topics"`
	Partition  int32              `json:"partition"`
	Partitions int32              `json:"partitions"`
	Records    []record           `json:"records"`
	Codec      string             `json:"codec"`
	Acks       string             `json:"acks"`
	Idempotent bool               `json:"idempotent"`
	MaxRequest int32              `json:"max_request"`
	LingerMs   *int               `json:"linger_ms"`
	Starts     [][2]int64         `json:"starts"`
	Count      int                `json:"count"`
	TimeoutMs  int                `json:"timeout_ms"`
	T          int64              `json:"t"`
	Group      string             `json:"group"`
	SessionMs  int                `json:"session_ms"`
	Instance   *string            `json:"instance"`
	Assignor   string             `json:"assignor"`
	Reset      string             `json:"reset"`
	FetchMs    int                `json:"fetch_wait_ms"`
	Ms         int                `json:"ms"`
	Offsets    [][]any            `json:"offsets"`
	Configs    map[string]*string `json:"configs"`
	Name       string             `json:"name"`
	Value      string             `json:"value"`
}

type answer map[string]any

func serve(a *agent) error {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil // The driver has closed the pipe: it needs the agent no more.
		}
		var command fields
		if err := json.Unmarshal(line, &command); err != nil {
			return err
		}
		reply, err := a.carryOut(&command)
		if err != nil {
			reply = answer{"ok": false, "code": code(err), "error": err.Error()}
		} else {
			if reply == nil {
				reply = answer{}
			}
			reply["ok"] = true
		}
		if err := out.Encode(reply); err != nil {
			return err
		}
		if command.Do == "quit" {
			return nil
		}
	}
}

func (a *agent) carryOut(command *fields) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTime)
	defer cancel()
	switch command.Do {
	case "version":
		return answer{"version": "franz-go " + clientVersion()}, nil
	case "produce":
		return a.produce(ctx, command)
	case "consume":
		return a.consume(command)
	case "subscribe":
		return nil, a.subscribe(command)
	case "poll":
		return a.poll(command)
	case "commit":
		return nil, a.commit(ctx, command)
	case "close":
		a.close()
		return nil, nil
	case "quit":
		a.close()
		if a.shared != nil {
			a.shared.Close()
		}
		return nil, nil
	}
	admin, err := a.admin()
	if err != nil {
		return nil, err
	}
	return administer(ctx, admin, command)
}

func (a *agent) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(a.bootstrap),
		kgo.RequestRetries(5),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, options...)...)
}

func (a *agent) admin() (*kadm.Client, error) {
	if a.shared == nil {
		client, err := a.client()
		if err != nil {
			return nil, err
		}
		a.shared = client
	}
	return kadm.NewClient(a.shared), nil
}

func code(err error) any {
	var kafka *kerr.Error
	if errors.As(err, &kafka) {
		return kafka.Code
	}
	return nil
}

func clientVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of unknown version"
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/twmb/franz-go" {
			return module.Version
		}
	}
	return "of unknown version"
}
