/* The floor: the smallest epoll loop that answers with the octets it was given.
 *
 * It parses nothing, looks nothing up and keeps no time. What a server spends beyond it is the server's own
 * doing; what it spends is the kernel's price for receiving a request and sending that answer.
 *
 * usage: floor LISTENER ANSWER CLOSE
 *   LISTENER  the descriptor of a listening socket that does not block
 *   ANSWER    a file with one whole answer: head and content
 *   CLOSE     1: the connection ends after each answer
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_FILES = 20000, BUFFER = 65536, SMALL = 65536, COPIES = 16 };

struct connection {
    int owed;       /* answers not yet sent in full */
    off_t sent;     /* octets of the first of them that are out */
    size_t unread;  /* octets of a head that is not complete */
    char head[8192];
};

static struct connection *connections[MOST_FILES];
static char buffer[BUFFER];
static char *answer;
static off_t answer_size, head_size;
static int answer_file, closing, poller;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void load(const char *path) {
    struct stat info;
    answer_file = open(path, O_RDONLY);
    if (answer_file < 0 || fstat(answer_file, &info) < 0) fail(path);
    answer_size = info.st_size;
    answer = malloc(COPIES * answer_size);
    for (int i = 0; i < COPIES; i++)
        if (pread(answer_file, answer + i * answer_size, answer_size, 0) != answer_size) fail(path);
    char *blank = memmem(answer, answer_size, "\r\n\r\n", 4);
    if (!blank) fail("an answer without a blank line");
    head_size = blank + 4 - answer;
}

static void end(int fd) {
    free(connections[fd]);
    connections[fd] = NULL;
    close(fd);
}

/* Small answers leave with one send, as many as are owed; large ones by sendfile: the cheapest for each. */
static ssize_t push(int fd, const struct connection *c) {
    off_t from = c->sent;
    if (answer_size <= SMALL) {
        int together = c->owed < COPIES ? c->owed : COPIES;
        return send(fd, answer + from, together * answer_size - from, MSG_NOSIGNAL);
    }
    if (from < head_size)
        return send(fd, answer + from, head_size - from, MSG_NOSIGNAL | MSG_MORE);
    return sendfile(fd, answer_file, &from, answer_size - from);
}

/* Sends what is owed, as far as the socket takes it; 1 when the connection is over. */
static int answer_all(int fd, struct connection *c) {
    while (c->owed) {
        ssize_t n = push(fd, c);
        if (n < 0 && errno == EAGAIN) return 0;
        if (n <= 0) return 1;
        c->sent += n;
        c->owed -= c->sent / answer_size;
        if (closing && c->sent >= answer_size) return 1;
        c->sent %= answer_size;
    }
    return 0;
}

/* How many heads end in the octets received; what is left over waits for the rest of its head. */
static void count(struct connection *c, ssize_t n) {
    char *start = buffer, *stop = buffer + c->unread + n, *blank;
    while ((blank = memmem(start, stop - start, "\r\n\r\n", 4))) {
        c->owed++;
        start = blank + 4;
    }
    c->unread = stop - start;
    if (c->unread > sizeof c->head) c->unread = 0;
    if (c->unread) memcpy(c->head, start, c->unread);
}

static void on_ready(int fd, unsigned events) {
    struct connection *c = connections[fd];
    if (events & EPOLLIN) {
        if (c->unread) memcpy(buffer, c->head, c->unread);
        ssize_t n = recv(fd, buffer + c->unread, BUFFER - c->unread, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            end(fd);
            return;
        }
        if (n > 0) count(c, n);
    }
    if (answer_all(fd, c)) end(fd);
}

static void on_connection(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) return;
        if (fd >= MOST_FILES) {
            close(fd);
            continue;
        }
        connections[fd] = calloc(1, sizeof(struct connection));
        /* Edge-triggered in both directions, so that nothing is ever asked of epoll again. */
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    signal(SIGPIPE, SIG_IGN); /* sendfile knows no MSG_NOSIGNAL */
    load(argv[2]);
    closing = atoi(argv[3]);
    int listener = atoi(argv[1]);
    poller = epoll_create1(0);
    struct epoll_event first = {.events = EPOLLIN, .data.fd = listener}, ready[512];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &first);
    for (;;) {
        int n = epoll_wait(poller, ready, 512, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) on_connection(listener);
            else if (connections[fd]) on_ready(fd, ready[i].events);
        }
    }
}
