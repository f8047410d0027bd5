# Made by scripts/settings_doc.py from mpserve/declarations.py: change it there.
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -f -a '(__fish_complete_directories)'
complete -c mpserve -n __fish_use_subcommand -f -a top -d 'Show what a server does.'
complete -c mpserve -n '__fish_seen_subcommand_from top' -f
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l index -d 'File that answers for its directory; of several, the first that exists. Repeatable.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l listing -d 'List directories that have no index file.'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l no-listing -d 'Not --listing.'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l dotfiles -d 'Serve names that begin with a dot, not .well-known alone.'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l no-dotfiles -d 'Not --dotfiles.'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l symlinks -d 'Links to follow: those that stay inside ROOT, none, or any.' -x -a 'inside none any'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l any-root -d 'Serve even / or a home directory, with all there is in it.'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l no-any-root -d 'Not --any-root.'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l bind -d 'HOST:PORT, [IPv6]:PORT, PORT (on 127.0.0.1), :PORT (every address, IPv6 and IPv4) or unix:/path. Port 0 picks a free one. Repeatable.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l workers -d 'Worker processes; auto: one for each processor it may use, CPU quota included.' -x -a 'auto'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l backlog -d 'Connections that may wait to be accepted, in each listening socket.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l max-connections -d 'Connections of each worker; fewer where its open files do not suffice. When nine tenths are taken, the longest idle ones are closed.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l pid-file -d 'File for the process ID of the master.' -r -F
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l admin -d 'Where the master answers /metrics, /healthz, /readyz and /status: a loopback address or unix:/path.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l affinity -d 'Keep each worker on one processor of its own.'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l no-affinity -d 'Not --affinity.'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l max-requests -d 'Replace a worker after so many answers, without loss; 0: never.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l max-rss -d 'Replace a worker that occupies more memory, without loss; 0: never.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l user -d 'Who the workers are, where root starts the server.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l group -d 'Their only group, in place of all those of the user.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l sandbox -d 'Let the kernel hold the workers to reading ROOT and answering: as far as it can (auto), wholly or not at all (require), or not (off).' -x -a 'auto require off'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l header -d 'Field for every answer, errors too; replaces the server\'s own of that name. Repeatable.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l server-header -d 'Value of the field Server; off: none.' -x -a 'off'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l access-log -d 'One line for each answer; -: standard output; off: none.' -r -F -a '- off'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l log-format -d 'Form of these lines.' -x -a 'combined common json'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l error-log -d 'The server\'s own messages; -: standard error.' -r -F -a '-'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l error-log-format -d 'Form of these messages.' -x -a 'text json'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l log-level -d 'The least important of these messages to log.' -x -a 'debug info warning error'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l max-request-line -d 'A longer request line is answered with 414.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l max-head -d 'A longer head (request line and fields) is answered with 431.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l max-fields -d 'More fields are answered with 431.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l header-timeout -d 'For a head to arrive; one that has begun is answered with 408.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l keepalive-timeout -d 'For a connection to be idle. A load balancer in front should give up sooner.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l send-timeout -d 'For a client to take nothing of an answer: who takes a little may be slow. Also for a file to be opened that has to wait for a descriptor.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l linger-timeout -d 'For a client that is still sending to read the answer before the connection closes.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l graceful-timeout -d 'For the answers under way at a graceful stop.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l shutdown-delay -d 'To go on serving after TERM, for load balancers that have to hear of it first.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l hang-timeout -d 'For a worker that shows no life, before another takes its place.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l coalesce -d 'For more requests to answer together, at most, where a worker is busy with many clients; 0: none.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l cache-size -d 'Memory for files and for answers, each; 0: each is made anew for every request.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l cache-files -d 'Open files, for large ones, for answers and for small ones, each; and as many directories.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l cache-valid -d 'Seconds for which a change in the file system may go unnoticed; 0: none does.' -x
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l config -d 'Settings by their names, in TOML: keepalive_timeout = 60. Flags and variables beat it.' -r -F
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l check -d 'Check the settings and ROOT and exit: 0 if all is well, else 2.'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l version -d 'Print the version and exit.'
complete -c mpserve -n 'not __fish_seen_subcommand_from top' -l help -d 'Print this and exit.'
complete -c mpserve -n '__fish_seen_subcommand_from top' -l help -d 'show this help message and exit'
complete -c mpserve -n '__fish_seen_subcommand_from top' -l pid-file -d 'file with the process ID of the master' -r -F
complete -c mpserve -n '__fish_seen_subcommand_from top' -l once -d 'print one table and end'
complete -c mpserve -n '__fish_seen_subcommand_from top' -l json -d 'print one reading as JSON and end'
