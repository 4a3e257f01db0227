// Command kafka-go drives segmentio's kafka-go: it answers the commands of ../../README.md.
package main

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/segmentio/kafka-go"

	"millstream/compat/commands"
)

const requestTime = 20 * time.Second

func main() {
	commands.Main(func(bootstrap string) commands.Agent {
		// By default kafka-go looks for new topics every six seconds.
		transport := &kafka.Transport{MetadataTTL: 100 * time.Millisecond}
		address := kafka.TCP(bootstrap)
		return &agent{
			bootstrap: bootstrap,
			address:   address,
			transport: transport,
			admin:     &kafka.Client{Addr: address, Timeout: requestTime, Transport: transport},
		}
	})
}

type agent struct {
	bootstrap string
	address   net.Addr
	transport *kafka.Transport
	admin     *kafka.Client
	member    *member
}

func (a *agent) CarryOut(command *commands.Command) (commands.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTime)
	defer cancel()
	switch command.Do {
	case "version":
		version := commands.Version("github.com/segmentio/kafka-go")
		return commands.Answer{"version": "kafka-go " + version}, nil
	case "produce":
		return a.produce(ctx, command)
	case "consume":
		return a.consume(command)
	case "subscribe":
		return nil, a.subscribe(command)
	case "poll":
		return a.member.poll(time.Duration(command.Ms) * time.Millisecond)
	case "commit":
		return nil, a.member.commit(command.Offsets)
	case "close", "quit":
		return nil, a.close()
	}
	return a.administer(ctx, command)
}

func (a *agent) close() error {
	if a.member == nil {
		return nil
	}
	left := a.member
	a.member = nil
	return left.close()
}

func (a *agent) Code(err error) any {
	var many kafka.WriteErrors
	if errors.As(err, &many) {
		for _, each := range many {
			if each != nil {
				err = each
				break
			}
		}
	}
	var known kafka.Error
	if errors.As(err, &known) {
		return int(known)
	}
	return nil
}
