package main

import (
	"fmt"

	"github.com/IBM/sarama"

	"millstream/compat/commands"
)

// administer carries out the commands that need no producer and no consumer.
func (a *agent) administer(command *commands.Command) (commands.Answer, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return nil, err
	}
	switch command.Do {
	case "offsets":
		return offsets(client, command)
	case "offset_for_time":
		found, err := client.GetOffset(command.Topic, command.Partition, command.T)
		return commands.Answer{"offset": found}, err
	case "committed":
		return committed(admin, command)
	case "create_topic":
		detail := &sarama.TopicDetail{
			NumPartitions: command.Partitions, ReplicationFactor: 1, ConfigEntries: command.Configs,
		}
		return nil, admin.CreateTopic(command.Topic, detail, false)
	case "delete_topic":
		return nil, admin.DeleteTopic(command.Topic)
	case "add_partitions":
		return nil, admin.CreatePartitions(command.Topic, command.Partitions, nil, false)
	case "delete_records":
		before := map[int32]int64{command.Partition: command.Before}
		return nil, admin.DeleteRecords(command.Topic, before)
	case "topics":
		return topics(client)
	case "groups":
		found, err := admin.ListConsumerGroups()
		names := []string{}
		for name := range found {
			names = append(names, name)
		}
		return commands.Answer{"groups": names}, err
	case "describe_group":
		found, err := admin.DescribeConsumerGroups([]string{command.Group})
		if err != nil {
			return nil, err
		}
		return commands.Answer{"state": found[0].State, "members": len(found[0].Members)}, nil
	case "delete_group":
		return nil, admin.DeleteConsumerGroup(command.Group)
	case "topic_config":
		return topicConfig(admin, command.Topic)
	case "set_topic_config":
		change := map[string]sarama.IncrementalAlterConfigsEntry{command.Name: {
			Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &command.Value,
		}}
		return nil, admin.IncrementalAlterConfig(sarama.TopicResource, command.Topic, change, false)
	case "cluster":
		found, _, err := admin.DescribeCluster()
		return commands.Answer{"brokers": len(found), "id": nil}, err
	}
	return nil, fmt.Errorf("unknown command %q", command.Do)
}

func offsets(client sarama.Client, command *commands.Command) (commands.Answer, error) {
	found := [][2]int64{}
	for partition := range command.Partitions {
		earliest, err := client.GetOffset(command.Topic, partition, sarama.OffsetOldest)
		if err != nil {
			return nil, err
		}
		latest, err := client.GetOffset(command.Topic, partition, sarama.OffsetNewest)
		if err != nil {
			return nil, err
		}
		found = append(found, [2]int64{earliest, latest})
	}
	return commands.Answer{"offsets": found}, nil
}

func committed(admin sarama.ClusterAdmin, command *commands.Command) (commands.Answer, error) {
	asked := []int32{}
	for partition := range command.Partitions {
		asked = append(asked, partition)
	}
	fetched, err := admin.ListConsumerGroupOffsets(
		command.Group, map[string][]int32{command.Topic: asked})
	if err != nil {
		return nil, err
	}
	found := make([]any, command.Partitions)
	for _, partition := range asked {
		at := fetched.GetBlock(command.Topic, partition)
		if at == nil {
			continue
		}
		if at.Err != sarama.ErrNoError {
			return nil, at.Err
		}
		if at.Offset >= 0 {
			found[partition] = []any{at.Offset, at.Metadata}
		}
	}
	return commands.Answer{"committed": found}, nil
}

func topics(client sarama.Client) (commands.Answer, error) {
	if err := client.RefreshMetadata(); err != nil {
		return nil, err
	}
	names, err := client.Topics()
	if err != nil {
		return nil, err
	}
	found := make(map[string]int)
	for _, name := range names {
		partitions, err := client.Partitions(name)
		if err != nil {
			continue // It went while the others were looked at.
		}
		found[name] = len(partitions)
	}
	return commands.Answer{"topics": found}, nil
}

func topicConfig(admin sarama.ClusterAdmin, topic string) (commands.Answer, error) {
	resource := sarama.ConfigResource{Type: sarama.TopicResource, Name: topic}
	described, err := admin.DescribeConfig(resource)
	if err != nil {
		return nil, err
	}
	found := make(map[string]string)
	for _, config := range described {
		found[config.Name] = config.Value
	}
	return commands.Answer{"config": found}, nil
}
