// Command franz-go drives the franz-go client: it answers the commands of ../../README.md on
// standard input; as `franz-go latency` it measures end-to-end latency, and as `franz-go load` it
// produces for `scripts/test crash`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millstream/compat/commands"
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
	commands.Main(func(bootstrap string) commands.Agent { return &agent{bootstrap: bootstrap} })
}

type agent struct {
	bootstrap string
	shared    *kgo.Client
	member    *kgo.Client
	events    commands.Events
}

func (a *agent) CarryOut(command *commands.Command) (commands.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTime)
	defer cancel()
	switch command.Do {
	case "version":
		version := commands.Version("github.com/twmb/franz-go")
		return commands.Answer{"version": "franz-go " + version}, nil
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
	case "init_transactions":
		return nil, a.initTransactions(ctx, command.Transactional)
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

func (a *agent) Code(err error) any {
	var kafka *kerr.Error
	if errors.As(err, &kafka) {
		return kafka.Code
	}
	return nil
}
