package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"millstream/compat/commands"
)

var strategies = map[string]func() sarama.BalanceStrategy{
	"":            sarama.NewBalanceStrategyRange,
	"range":       sarama.NewBalanceStrategyRange,
	"cooperative": sarama.NewBalanceStrategyCooperativeSticky,
}

// member is one member of a group: sarama calls it from goroutines of its own.
type member struct {
	group  sarama.ConsumerGroup
	topics []string
	taken  chan *sarama.ConsumerMessage
	leave  context.CancelFunc
	ended  chan struct{}
	events commands.Events

	mutex   sync.Mutex
	session sarama.ConsumerGroupSession
	failed  error
}

func (a *agent) subscribe(command *commands.Command) error {
	config := settings()
	config.Metadata.RefreshFrequency = time.Second
	config.Consumer.Return.Errors = true
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	if command.Reset == "latest" {
		config.Consumer.Offsets.Initial = sarama.OffsetNewest
	}
	config.Consumer.MaxWaitTime = 500 * time.Millisecond
	if command.FetchMs != 0 {
		config.Consumer.MaxWaitTime = time.Duration(command.FetchMs) * time.Millisecond
	}
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	if command.SessionMs != 0 {
		config.Consumer.Group.Session.Timeout = time.Duration(command.SessionMs) * time.Millisecond
	}
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Consumer.Group.Rebalance.GroupStrategies =
		[]sarama.BalanceStrategy{strategies[command.Assignor]()}
	if command.Instance != nil {
		config.Consumer.Group.InstanceId = *command.Instance
	}
	group, err := sarama.NewConsumerGroup(a.brokers, command.Group, config)
	if err != nil {
		return err
	}
	ctx, leave := context.WithCancel(context.Background())
	a.member = &member{
		group:  group,
		topics: command.Topics,
		taken:  make(chan *sarama.ConsumerMessage),
		leave:  leave,
		ended:  make(chan struct{}),
	}
	go a.member.watch()
	go a.member.run(ctx)
	return nil
}

func (m *member) run(ctx context.Context) {
	defer close(m.ended)
	for ctx.Err() == nil {
		err := m.group.Consume(ctx, m.topics, m)
		if errors.Is(err, sarama.ErrClosedConsumerGroup) {
			return
		}
		if err != nil {
			m.fail(err)
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func (m *member) watch() {
	for err := range m.group.Errors() {
		m.fail(err)
	}
}

// fail keeps what is final; sarama tries again by itself after anything else.
func (m *member) fail(err error) {
	if errors.Is(err, sarama.ErrFencedInstancedId) {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.failed = err
	}
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.session = session
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(
	session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim,
) error {
	claimed := map[string][]int32{claim.Topic(): {claim.Partition()}}
	m.events.Note("assigned", claimed)
	defer m.events.Note("revoked", claimed)
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			select {
			case m.taken <- message:
			case <-session.Context().Done():
				return nil
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

// poll gives what comes within a time, or what is there at once when something is.
func (m *member) poll(within time.Duration) (commands.Answer, error) {
	m.mutex.Lock()
	failed := m.failed
	m.mutex.Unlock()
	if failed != nil {
		return nil, failed
	}
	records := []commands.Record{}
	wait := time.After(within)
	for {
		select {
		case message := <-m.taken:
			records = append(records, record(message))
			wait = time.After(5 * time.Millisecond)
		case <-wait:
			return m.events.Answer(records), nil
		}
	}
}

func (m *member) commit(offsets []commands.Commit) error {
	m.mutex.Lock()
	session, failed := m.session, m.failed
	m.mutex.Unlock()
	if failed != nil {
		return failed
	}
	if session == nil {
		return errors.New("not a member of the group")
	}
	claims := session.Claims()
	for _, each := range offsets {
		if !slices.Contains(claims[each.Topic], each.Partition) {
			return fmt.Errorf("%s-%d is not claimed", each.Topic, each.Partition)
		}
		session.MarkOffset(each.Topic, each.Partition, each.Offset, each.Metadata)
	}
	session.Commit()
	return nil
}

func (m *member) close() error {
	m.leave()
	<-m.ended
	return m.group.Close()
}
