/* A worker that knows nothing of anybody: tell when its first instruction ran, then wait for a signal.
 *
 * Two arguments: the port of whoever measures, and a word to be told apart by. CLOCK_MONOTONIC is one clock for all
 * processes of a machine. Sends "PID BEGAN_NS BEGAN_NS WORD", as the workers written in Python do. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **words)
{
    struct timespec began;
    clock_gettime(CLOCK_MONOTONIC, &began);
    if (count != 3)
        return 64;
    long long began_ns = began.tv_sec * 1000000000LL + began.tv_nsec;
    char told[256];
    int size = snprintf(told, sizeof told, "%ld %lld %lld %s", (long)getpid(), began_ns, began_ns, words[2]);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[1]))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int out = socket(AF_INET, SOCK_DGRAM, 0);
    if (out < 0 || size >= (int)sizeof told || sendto(out, told, (size_t)size, 0, (struct sockaddr *)&to, sizeof to) < 0)
        return 70;
    close(out);
    for (;;)
        pause();
}
