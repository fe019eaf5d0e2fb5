module gputrain

go 1.26
