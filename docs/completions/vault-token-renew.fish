# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_vault_token_renew_global_optspecs
    string join \n dry-run json q/quiet v/verbose detailed-exitcode config= address= namespace= token-file= display-name= policy= required-policy= period= log-file= retry-for= sweep= sweep-concurrency= metrics-file= deploy-hook= hook-timeout= login-command= h/help V/version
end

function __fish_vault_token_renew_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    if not argparse -s (__fish_vault_token_renew_global_optspecs) -- $cmd 2>/dev/null
        set -e cmd[-1]
        argparse -s (__fish_vault_token_renew_global_optspecs) -- $cmd 2>/dev/null
        or return
    end
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_vault_token_renew_using_subcommand
    set -l cmd (__fish_vault_token_renew_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c vault-token-renew -f
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l config -d 'Configuration file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l address -d 'Server [default: https://127.0.0.1:8200]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l namespace -d 'Namespace [default: none]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l token-file -d 'Token file [default: ~/.vault-token]' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l display-name -d 'Name of your token, without Vault\'s `token-`' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l policy -d 'Policy of your token; repeat for more' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l required-policy -d 'Policy that marks yours [default: first policy]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l period -d 'Period of your token [default: 768h]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l log-file -d 'Log file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l retry-for -d 'How long to retry requests [default: 30s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l sweep -d 'walk, remembered or off [default: walk]' -r -f -a "walk\t''
remembered\t''
off\t''"
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l sweep-concurrency -d 'Parallel lookups, at most [default: 16]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l metrics-file -d 'Write metrics for Prometheus to this file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l deploy-hook -d 'Command to run after the file was replaced' -r -f -a "(__fish_complete_command)"
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l hook-timeout -d 'Time limit of the hook [default: 30s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l login-command -d 'How you log in, for the commands it prints' -r -f -a "(__fish_complete_command)"
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l dry-run -d 'Change nothing; show what would happen'
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l json -d 'Print one JSON object instead of lines'
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -s q -l quiet -d 'Print failures only'
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -s v -l verbose -d 'Print a line for each request, too'
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -l detailed-exitcode -d 'Report the outcome in the exit status'
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -s h -l help -d 'Print help'
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -s V -l version -d 'Print version'
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -f -a "status" -d 'Show whose token it is, how long it lives and what is wrong'
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -f -a "sweep" -d 'Revoke stale tokens of your name now; keep the one in the token file'
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -f -a "watch" -d 'Stay: renew at half the TTL, notice a login within seconds'
complete -c vault-token-renew -n "__fish_vault_token_renew_needs_command" -f -a "follow" -d 'Stay: keep a file equal to a field of a KV secret'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l min-ttl -d 'Fail if the token has less left than this' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l ignore -d 'Leave out what is so on purpose: timer_off, …' -r -f -a "last_pass_failed\t''
linger_off\t''
never_run\t''
no_timer\t''
not_orphan\t''
other_namespace\t''
other_period\t''
path_unit_failed\t''
period_capped\t''
policies_lacking\t''
policy_missing\t''
policy_unreadable\t''
role_period\t''
service_differs\t''
service_settings\t''
shadowed\t''
shell_settings\t''
stale_tokens\t''
state_unreadable\t''
success_too_old\t''
sweep_denied\t''
sweep_off\t''
sweep_unfinished\t''
timer_masked\t''
timer_off\t''
token_helper\t''
unconfirmed\t''
verification_off\t''"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l config -d 'Configuration file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l address -d 'Server [default: https://127.0.0.1:8200]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l namespace -d 'Namespace [default: none]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l token-file -d 'Token file [default: ~/.vault-token]' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l display-name -d 'Name of your token, without Vault\'s `token-`' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l policy -d 'Policy of your token; repeat for more' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l required-policy -d 'Policy that marks yours [default: first policy]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l period -d 'Period of your token [default: 768h]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l log-file -d 'Log file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l retry-for -d 'How long to retry requests [default: 30s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l sweep -d 'walk, remembered or off [default: walk]' -r -f -a "walk\t''
remembered\t''
off\t''"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l sweep-concurrency -d 'Parallel lookups, at most [default: 16]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l metrics-file -d 'Write metrics for Prometheus to this file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l deploy-hook -d 'Command to run after the file was replaced' -r -f -a "(__fish_complete_command)"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l hook-timeout -d 'Time limit of the hook [default: 30s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l login-command -d 'How you log in, for the commands it prints' -r -f -a "(__fish_complete_command)"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l offline -d 'Make no requests; report what the last run recorded'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l all -d 'One table of all configurations'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l dry-run -d 'Change nothing; show what would happen'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l json -d 'Print one JSON object instead of lines'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -s q -l quiet -d 'Print failures only'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -s v -l verbose -d 'Print a line for each request, too'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -l detailed-exitcode -d 'Report the outcome in the exit status'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand status" -s h -l help -d 'Print help'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l config -d 'Configuration file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l address -d 'Server [default: https://127.0.0.1:8200]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l namespace -d 'Namespace [default: none]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l token-file -d 'Token file [default: ~/.vault-token]' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l display-name -d 'Name of your token, without Vault\'s `token-`' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l policy -d 'Policy of your token; repeat for more' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l required-policy -d 'Policy that marks yours [default: first policy]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l period -d 'Period of your token [default: 768h]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l log-file -d 'Log file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l retry-for -d 'How long to retry requests [default: 30s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l sweep -d 'walk, remembered or off [default: walk]' -r -f -a "walk\t''
remembered\t''
off\t''"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l sweep-concurrency -d 'Parallel lookups, at most [default: 16]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l metrics-file -d 'Write metrics for Prometheus to this file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l deploy-hook -d 'Command to run after the file was replaced' -r -f -a "(__fish_complete_command)"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l hook-timeout -d 'Time limit of the hook [default: 30s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l login-command -d 'How you log in, for the commands it prints' -r -f -a "(__fish_complete_command)"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l dry-run -d 'Change nothing; show what would happen'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l json -d 'Print one JSON object instead of lines'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -s q -l quiet -d 'Print failures only'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -s v -l verbose -d 'Print a line for each request, too'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -l detailed-exitcode -d 'Report the outcome in the exit status'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand sweep" -s h -l help -d 'Print help'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand help; and not __fish_seen_subcommand_from status sweep watch follow help" -f -a "status" -d 'Show whose token it is, how long it lives and what is wrong'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand help; and not __fish_seen_subcommand_from status sweep watch follow help" -f -a "sweep" -d 'Revoke stale tokens of your name now; keep the one in the token file'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand help; and not __fish_seen_subcommand_from status sweep watch follow help" -f -a "watch" -d 'Stay: renew at half the TTL, notice a login within seconds'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand help; and not __fish_seen_subcommand_from status sweep watch follow help" -f -a "follow" -d 'Stay: keep a file equal to a field of a KV secret'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand help; and not __fish_seen_subcommand_from status sweep watch follow help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l max-interval -d 'Longest wait between two runs [default: 24h]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l listen -d 'Serve /health and /metrics there (or unix:PATH)' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l config -d 'Configuration file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l address -d 'Server [default: https://127.0.0.1:8200]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l namespace -d 'Namespace [default: none]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l token-file -d 'Token file [default: ~/.vault-token]' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l display-name -d 'Name of your token, without Vault\'s `token-`' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l policy -d 'Policy of your token; repeat for more' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l required-policy -d 'Policy that marks yours [default: first policy]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l period -d 'Period of your token [default: 768h]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l log-file -d 'Log file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l retry-for -d 'How long to retry requests [default: 30s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l sweep -d 'walk, remembered or off [default: walk]' -r -f -a "walk\t''
remembered\t''
off\t''"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l sweep-concurrency -d 'Parallel lookups, at most [default: 16]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l metrics-file -d 'Write metrics for Prometheus to this file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l deploy-hook -d 'Command to run after the file was replaced' -r -f -a "(__fish_complete_command)"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l hook-timeout -d 'Time limit of the hook [default: 30s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l login-command -d 'How you log in, for the commands it prints' -r -f -a "(__fish_complete_command)"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l listen-unprotected -d 'Allow --listen on an address that others can reach'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l exit-on-failure -d 'Exit if only a new token would help'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l dry-run -d 'Change nothing; show what would happen'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l json -d 'Print one JSON object instead of lines'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -s q -l quiet -d 'Print failures only'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -s v -l verbose -d 'Print a line for each request, too'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -l detailed-exitcode -d 'Report the outcome in the exit status'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand watch" -s h -l help -d 'Print help'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l mount -d 'Mount of the KV store, such as secret' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l path -d 'Path of the secret below the mount' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l field -d 'Field of the secret [default: token]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l out -d 'File to keep equal to the field' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l mode -d 'Mode of that file [default: 0600]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l interval -d 'Time between two fetches [default: 60s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l jitter -d 'Random time added to it [default: 5s..10s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l listen -d 'Serve /health and /metrics there (or unix:PATH)' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l audit-log -d 'Append a line to this file at each rotation' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l max-skew -d 'How old a signature may be [default: 120s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l grace -d 'How long the last value stays valid [default: 120s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l config -d 'Configuration file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l address -d 'Server [default: https://127.0.0.1:8200]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l namespace -d 'Namespace [default: none]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l token-file -d 'Token file [default: ~/.vault-token]' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l display-name -d 'Name of your token, without Vault\'s `token-`' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l policy -d 'Policy of your token; repeat for more' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l required-policy -d 'Policy that marks yours [default: first policy]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l period -d 'Period of your token [default: 768h]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l log-file -d 'Log file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l retry-for -d 'How long to retry requests [default: 30s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l sweep -d 'walk, remembered or off [default: walk]' -r -f -a "walk\t''
remembered\t''
off\t''"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l sweep-concurrency -d 'Parallel lookups, at most [default: 16]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l metrics-file -d 'Write metrics for Prometheus to this file' -r -F
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l deploy-hook -d 'Command to run after the file was replaced' -r -f -a "(__fish_complete_command)"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l hook-timeout -d 'Time limit of the hook [default: 30s]' -r -f
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l login-command -d 'How you log in, for the commands it prints' -r -f -a "(__fish_complete_command)"
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l once -d 'Fetch once and exit, for a timer'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l listen-unprotected -d 'Allow --listen on an address that others can reach'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l verify -d 'Check signatures: POST /verify'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l dry-run -d 'Change nothing; show what would happen'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l json -d 'Print one JSON object instead of lines'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -s q -l quiet -d 'Print failures only'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -s v -l verbose -d 'Print a line for each request, too'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -l detailed-exitcode -d 'Report the outcome in the exit status'
complete -c vault-token-renew -n "__fish_vault_token_renew_using_subcommand follow" -s h -l help -d 'Print help'
