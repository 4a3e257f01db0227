package main

import (
	"time"

	"github.com/IBM/sarama"

	"millstream/compat/commands"
)

var codecs = map[string]sarama.CompressionCodec{
	"":       sarama.CompressionNone,
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

var acks = map[string]sarama.RequiredAcks{
	"":    sarama.WaitForAll,
	"all": sarama.WaitForAll,
	"1":   sarama.WaitForLocal,
	"0":   sarama.NoResponse,
}

func producing(command *commands.Command) *sarama.Config {
	config := settings()
	linger := 20
	if command.LingerMs != nil {
		linger = *command.LingerMs
	}
	config.Producer.Compression = codecs[command.Codec]
	config.Producer.RequiredAcks = acks[command.Acks]
	config.Producer.Flush.Frequency = time.Duration(linger) * time.Millisecond
	config.Producer.Partitioner = newChosenPartitioner
	config.Producer.Return.Successes = true
	config.Producer.Timeout = requestTime
	if command.MaxRequest != 0 {
		config.Producer.MaxMessageBytes = int(command.MaxRequest)
	}
	if command.Idempotent {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1 // What sarama asks for.
	}
	return config
}

func (a *agent) produce(command *commands.Command) (commands.Answer, error) {
	producer, err := sarama.NewSyncProducer(a.brokers, producing(command))
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	sent := make([]*sarama.ProducerMessage, 0, len(command.Records))
	for _, each := range command.Records {
		sent = append(sent, made(command.Topic, &each))
	}
	if err := producer.SendMessages(sent); err != nil {
		return nil, err
	}
	offsets := make([][2]int64, 0, len(sent))
	for _, each := range sent {
		offsets = append(offsets, [2]int64{int64(each.Partition), each.Offset})
	}
	return commands.Answer{"offsets": offsets}, nil
}

func made(topic string, r *commands.Record) *sarama.ProducerMessage {
	made := &sarama.ProducerMessage{Topic: topic, Metadata: r.Partition}
	if r.Key != nil {
		made.Key = sarama.ByteEncoder(r.Key)
	}
	if r.Value != nil {
		made.Value = sarama.ByteEncoder(r.Value)
	}
	if r.Time != nil {
		made.Timestamp = time.UnixMilli(*r.Time)
	}
	for _, header := range r.Headers {
		made.Headers = append(made.Headers,
			sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
	}
	return made
}

// chosenPartitioner obeys a record's partition, and asks the hash for a record without one.
type chosenPartitioner struct{ sarama.Partitioner }

func newChosenPartitioner(topic string) sarama.Partitioner {
	return chosenPartitioner{sarama.NewHashPartitioner(topic)}
}

func (p chosenPartitioner) Partition(m *sarama.ProducerMessage, count int32) (int32, error) {
	if chosen, ok := m.Metadata.(*int32); ok && chosen != nil {
		return *chosen, nil
	}
	return p.Partitioner.Partition(m, count)
}

func (a *agent) consume(command *commands.Command) (commands.Answer, error) {
	config := settings()
	config.Consumer.MaxWaitTime = 500 * time.Millisecond
	config.Consumer.Return.Errors = true
	consumer, err := sarama.NewConsumer(a.brokers, config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	taken := make(chan *sarama.ConsumerMessage)
	failed := make(chan error)
	done := make(chan struct{})
	defer close(done)
	for _, start := range command.Starts {
		partition, err := consumer.ConsumePartition(command.Topic, int32(start[0]), start[1])
		if err != nil {
			return nil, err
		}
		defer partition.AsyncClose()
		go forward(partition, taken, failed, done)
	}
	records := []commands.Record{}
	deadline := time.After(time.Duration(command.TimeoutMs) * time.Millisecond)
	for len(records) < command.Count {
		select {
		case m := <-taken:
			records = append(records, record(m))
		case err := <-failed:
			return nil, err
		case <-deadline:
			return commands.Answer{"records": records}, nil
		}
	}
	return commands.Answer{"records": records}, nil
}

func forward(from sarama.PartitionConsumer, taken chan<- *sarama.ConsumerMessage,
	failed chan<- error, done <-chan struct{}) {
	for {
		select {
		case m, open := <-from.Messages():
			if !open {
				return
			}
			select {
			case taken <- m:
			case <-done:
				return
			}
		case err := <-from.Errors():
			if err == nil {
				return
			}
			select {
			case failed <- err.Err:
			case <-done:
				return
			}
		case <-done:
			return
		}
	}
}

func record(m *sarama.ConsumerMessage) commands.Record {
	at, partition := m.Timestamp.UnixMilli(), m.Partition
	headers := make([]commands.Header, 0, len(m.Headers))
	for _, header := range m.Headers {
		headers = append(headers, commands.Header{Name: string(header.Key), Value: header.Value})
	}
	return commands.Record{
		Topic: m.Topic, Partition: &partition, Offset: m.Offset, Time: &at,
		Key: m.Key, Value: m.Value, Headers: headers,
	}
}
