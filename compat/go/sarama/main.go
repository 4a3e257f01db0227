// Command sarama drives the sarama client: it answers the commands of ../../README.md.
package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"millstream/compat/commands"
)

const requestTime = 20 * time.Second

func main() {
	commands.Main(func(bootstrap string) commands.Agent {
		return &agent{brokers: []string{bootstrap}}
	})
}

type agent struct {
	brokers []string
	shared  sarama.Client
	member  *member
}

func (a *agent) CarryOut(command *commands.Command) (commands.Answer, error) {
	switch command.Do {
	case "version":
		version := commands.Version("github.com/IBM/sarama")
		return commands.Answer{"version": "sarama " + version}, nil
	case "produce":
		return a.produce(command)
	case "consume":
		return a.consume(command)
	case "subscribe":
		return nil, a.subscribe(command)
	case "poll":
		return a.member.poll(time.Duration(command.Ms) * time.Millisecond)
	case "commit":
		return nil, a.member.commit(command.Offsets)
	case "init_transactions":
		return nil, a.initTransactions(command.Transactional)
	case "close":
		return nil, a.close()
	case "quit":
		return nil, a.close()
	}
	return a.administer(command)
}

func (a *agent) close() error {
	if a.member == nil {
		return nil
	}
	left := a.member
	a.member = nil
	return left.close()
}

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Admin.Timeout = requestTime
	config.Metadata.Retry.Backoff = 100 * time.Millisecond
	return config
}

func (a *agent) client() (sarama.Client, error) {
	if a.shared == nil {
		client, err := sarama.NewClient(a.brokers, settings())
		if err != nil {
			return nil, err
		}
		a.shared = client
	}
	return a.shared, nil
}

func (a *agent) Code(err error) any {
	var many sarama.ProducerErrors
	if errors.As(err, &many) && len(many) > 0 {
		err = many[0].Err
	}
	var kafka sarama.KError
	if errors.As(err, &kafka) {
		return int16(kafka)
	}
	return nil
}

// initTransactions asks for the producer id that a transaction begins with.
func (a *agent) initTransactions(id string) error {
	config := producing(&commands.Command{Idempotent: true})
	config.Producer.Transaction.ID = id
	config.Producer.Transaction.Retry.Max = 3
	producer, err := sarama.NewSyncProducer(a.brokers, config)
	if err != nil {
		return fmt.Errorf("no transactional producer: %w", err)
	}
	return producer.Close()
}
