#!/bin/sh
# The image's entry point, with the words of TorchServe's: `serve`, or a command, which may be one word with blanks.
set -eu

if [ "${1:-serve}" = serve ]; then
    [ $# -eq 0 ] || shift
    set -- torchserve --start --ts-config /home/model-server/config.properties --disable-token-auth "$@"
elif [ $# -eq 1 ]; then
    case $1 in
        *[\&\|\;\<\>\`\$\(]*) exec /bin/sh -c "$1; exec sleep infinity" ;;  # what it starts in the background stays
        *\ *) set -f; set -- $1; set +f ;;
    esac
fi

# A start in the background would end the container under a first process of Docker's (--init).
case ${1##*/} in
    torchserve)
        foreground=--foreground
        case ${2:--} in -*) ;; *) foreground= ;; esac  # a subcommand
        for word in "$@"; do
            case $word in
                --foreground | --stop | --version | -v | --help | -h) foreground= ;;
            esac
        done
        set -- "$@" ${foreground}
        ;;
esac
exec "$@"
