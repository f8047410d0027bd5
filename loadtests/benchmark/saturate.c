/* The quick client: it takes less for a request than any server does, so that the server is what sets the pace.
 *
 * It asks a connection again as soon as it has its answer, and it never sleeps, so that no server pays for waking it.
 * It is as small as that allows: one thread, IPv4, answers with a Content-Length; what goes wrong ends it.
 *
 * usage: saturate ADDRESS PORT CONNECTIONS SECONDS HEADS DEPTH COUNTED CLOSING PATIENCE
 *   HEADS     a file with request heads, which are sent in turn
 *   DEPTH     so many heads go out together, the next when all have been answered
 *   COUNTED   1: a number of its own ends the last field of every head, so that no two are alike
 *   CLOSING   1: the server ends the connection after each answer
 *   PATIENCE  seconds in which nothing may come
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, MOST_HEAD = 8192, BATCH = 65536, EVENTS = 512, MOST_US = 100000 };

#define BLANK "\r\n\r\n"
#define LENGTH "content-length:"
static const size_t blank_size = sizeof BLANK - 1, length_size = sizeof LENGTH - 1;
static const long long most_content = 1LL << 50;

enum state { CONNECTING, WAITING, ANSWERED };
enum got { NOTHING, SOME, ALL_THERE_WAS_ROOM_FOR };

struct octets {
    const char *start;
    size_t size;
};

struct connection {
    int fd;
    enum state state;
    long owed;         /* answers that are yet to come */
    double asked;      /* when their requests went out */
    int status;        /* of the answer that is coming, */
    long long size;    /* its octets, */
    long long missing; /* and those of its content that are yet to come */
    size_t held;       /* octets of a head that is not complete */
    char head[MOST_HEAD];
};

static struct sockaddr_in address;
static struct connection *connections;
static struct octets *heads;
static long head_count, at, depth;
static int counted, closing, poller;
static char buffer[BUFFER], batch[BATCH];
static char number[] = "50000000"; /* where replay.lua, which may have been here before, does not come */
static const size_t number_size = sizeof number - 1;

static double now, heard; /* seconds: the last reading of the clock, and when octets came last */
static long requests, refused;
static long long octets;
static long taken[MOST_US + 1]; /* answers by the microseconds they took; the last are those that took longer */

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void fail_by_errno(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static double read_clock(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static struct octets contents_of(const char *path) {
    struct stat info;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &info) < 0) fail_by_errno(path);
    char *start = malloc(info.st_size + 1);
    if (!start || read(file, start, info.st_size) != info.st_size) fail("the heads cannot be read");
    close(file);
    return (struct octets){start, info.st_size};
}

/* How many heads `text` has; they are noted where there is a place for them. */
static long split(struct octets text, struct octets *places) {
    const char *start = text.start, *stop = start + text.size, *blank;
    long count = 0;
    for (; (blank = memmem(start, stop - start, BLANK, blank_size)); count++) {
        size_t size = blank + blank_size - start;
        if (size + number_size > (size_t)BATCH / depth) fail("the heads are too long");
        if (places) places[count] = (struct octets){start, size};
        start += size;
    }
    return count;
}

static void load(const char *path) {
    struct octets text = contents_of(path);
    head_count = split(text, NULL);
    if (head_count < depth) fail("there are too few heads");
    heads = calloc(head_count, sizeof *heads);
    if (!heads) fail("no memory for the heads");
    split(text, heads);
}

static void count_up(void) {
    for (int i = number_size - 1; i >= 0 && ++number[i] > '9'; i--) number[i] = '0';
}

/* The heads of one batch, one after the other, each with a number. */
static struct octets numbered(const struct octets *first) {
    char *end = batch;
    for (const struct octets *head = first; head < first + depth; head++) {
        count_up();
        end = mempcpy(end, head->start, head->size - blank_size);
        end = mempcpy(end, number, number_size);
        end = mempcpy(end, BLANK, blank_size);
    }
    return (struct octets){batch, end - batch};
}

static struct octets next_batch(void) {
    if (at + depth > head_count) at = 0;
    const struct octets *first = heads + at, *last = first + depth - 1;
    at += depth;
    if (counted) return numbered(first);
    return (struct octets){first->start, last->start + last->size - first->start};
}

/* Nothing holds the requests back (Nagle's rule): those before them have been answered, and so acknowledged. */
static void ask(struct connection *c) {
    struct octets out = next_batch();
    c->state = WAITING;
    c->owed = depth;
    c->asked = now;
    ssize_t n = send(c->fd, out.start, out.size, MSG_NOSIGNAL);
    if (n < 0) fail_by_errno("a request cannot be sent");
    if ((size_t)n != out.size) fail("the socket does not take the requests together");
}

static void begin(struct connection *c) {
    c->state = CONNECTING;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) fail_by_errno("no socket");
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail_by_errno("no connection");
    /* Edge-triggered in both directions, so that nothing is ever asked of epoll again. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0) fail_by_errno("epoll_ctl");
}

static void begin_all(long count) {
    poller = epoll_create1(0);
    connections = calloc(count, sizeof *connections);
    if (!connections) fail("no memory for the connections");
    for (long i = 0; i < count; i++) begin(connections + i);
}

/* 0 where the head does not begin with a status line. */
static int status_of(const char *head) {
    int status = 0;
    /* Nothing is read beyond the head: the octets that end it are none of those that are looked for. */
    if (strncmp(head, "HTTP/1.", 7) || head[7] < '0' || head[7] > '9' || head[8] != ' ') return 0;
    for (const char *digit = head + 9; digit < head + 12; digit++) {
        if (*digit < '0' || *digit > '9') return 0;
        status = status * 10 + *digit - '0';
    }
    return head[12] == ' ' || head[12] == '\r' ? status : 0;
}

/* -1 where there is no number, or more than one. */
static long long number_in(const char *value) {
    long long found = 0;
    value += strspn(value, " \t");
    if (*value < '0' || *value > '9') return -1;
    for (; *value >= '0' && *value <= '9' && found < most_content; value++) found = found * 10 + *value - '0';
    return value[strspn(value, " \t")] == '\r' ? found : -1;
}

/* The Content-Length in a head that ends with the empty line at `stop`; -1 where there is none. */
static long long length_of(const char *head, const char *stop) {
    for (const char *line = head; (line = memchr(line, '\n', stop - line));) {
        line++;
        if (strncasecmp(line, LENGTH, length_size) == 0) return number_in(line + length_size);
    }
    return -1;
}

static void read_head(struct connection *c, const char *head, const char *blank) {
    c->status = status_of(head);
    if (c->status < 200) fail("an answer does not begin with a status line");
    c->missing = c->status == 304 ? 0 : length_of(head, blank + 2);
    if (c->missing < 0) fail("an answer has no Content-Length");
    c->size = blank + blank_size - head + c->missing;
}

/* What is under way when the time is up has not come here, and is in none of the counts. */
static void on_answer(struct connection *c) {
    now = read_clock();
    double us = (now - c->asked) * 1e6;
    taken[us < MOST_US ? (int)us : MOST_US]++;
    requests++;
    octets += c->size;
    refused += c->status >= 400;
    c->owed--;
}

static void hold(struct connection *c, const char *start, size_t size) {
    if (size > sizeof c->head) fail("an answer's head is too long");
    memcpy(c->head, start, size);
    c->held = size;
}

/* Goes through `size` octets in the buffer. */
static void take(struct connection *c, size_t size) {
    const char *start = buffer, *stop = buffer + size;
    while (start < stop) {
        if (!c->owed) fail("more octets came than were asked for");
        if (!c->missing) {
            const char *blank = memmem(start, stop - start, BLANK, blank_size);
            if (!blank) {
                hold(c, start, stop - start);
                return;
            }
            read_head(c, start, blank);
            start = blank + blank_size;
        }
        long long here = stop - start < c->missing ? stop - start : c->missing;
        start += here;
        c->missing -= here;
        if (!c->missing) on_answer(c);
    }
}

/* What is content and nothing else, and is only counted, the kernel throws away. */
static ssize_t receive_content(struct connection *c, size_t room) {
    ssize_t n = recv(c->fd, buffer, room, MSG_TRUNC);
    if (n > 0 && !(c->missing -= n)) on_answer(c);
    return n;
}

static ssize_t receive_any(struct connection *c, size_t room) {
    size_t held = c->held;
    ssize_t n = recv(c->fd, buffer + held, room, 0);
    if (n <= 0) return n;
    memcpy(buffer, c->head, held);
    c->held = 0;
    take(c, held + n);
    return n;
}

static void on_end(struct connection *c) {
    if (c->state != ANSWERED) fail("a connection ended before its answer had come");
    close(c->fd);
    begin(c);
}

static size_t room_for(const struct connection *c) {
    if (!c->missing) return BUFFER - c->held;
    return c->missing < BUFFER ? (size_t)c->missing : (size_t)BUFFER;
}

static enum got receive(struct connection *c) {
    size_t room = room_for(c);
    ssize_t n = c->missing ? receive_content(c, room) : receive_any(c, room);
    if (n < 0 && errno == EAGAIN) return NOTHING;
    if (n < 0) fail_by_errno("a connection is lost");
    if (n == 0) {
        on_end(c);
        return NOTHING;
    }
    heard = now;
    if (c->owed == 0 && closing) c->state = ANSWERED;
    else if (c->owed == 0) ask(c);
    return (size_t)n == room ? ALL_THERE_WAS_ROOM_FOR : SOME;
}

/* Invariant: nothing stays unread that no event will tell of. What comes later is told; so less than there was
 * room for is all, unless the end has come with it. */
static void on_ready(struct connection *c, unsigned events) {
    enum got got;
    if (c->state == CONNECTING) ask(c);
    if (!(events & ~EPOLLOUT)) return;
    do got = receive(c);
    while (got == ALL_THERE_WAS_ROOM_FOR || (got == SOME && events & EPOLLRDHUP));
}

static void run(double seconds, double patience) {
    struct epoll_event ready[EVENTS];
    double end = now + seconds;
    while (now < end) {
        int n = epoll_wait(poller, ready, EVENTS, 0);
        now = read_clock();
        for (int i = 0; i < n; i++) on_ready(ready[i].data.ptr, ready[i].events);
        if (now - heard > patience) fail("nothing comes any more");
    }
}

/* The microseconds that this share of the answers did not exceed. */
static int percentile(double share) {
    long seen = 0;
    for (int us = 0; us < MOST_US; us++)
        if ((seen += taken[us]) >= share * requests) return us;
    return MOST_US;
}

/* As replay.lua does. What it counts as errors ends this program. */
static void report(double seconds) {
    printf("{\"requests\": %ld, \"seconds\": %.6f, \"octets\": %lld, \"p50_us\": %d, \"p99_us\": %d,"
           " \"connect_errors\": 0, \"read_errors\": 0, \"write_errors\": 0, \"timeouts\": 0, \"refused\": %ld}\n",
           requests, seconds, octets, percentile(0.5), percentile(0.99), refused);
}

int main(int argc, char **argv) {
    if (argc != 10) return 2;
    address.sin_family = AF_INET;
    address.sin_port = htons(atoi(argv[2]));
    long count = atol(argv[3]);
    depth = atol(argv[6]);
    if (!inet_pton(AF_INET, argv[1], &address.sin_addr) || count < 1 || depth < 1) return 2;
    counted = atoi(argv[7]);
    closing = atoi(argv[8]);
    load(argv[5]);
    double begun = now = heard = read_clock();
    begin_all(count);
    run(atof(argv[4]), atof(argv[9]));
    report(now - begun);
}
