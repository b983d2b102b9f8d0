/* Methods by the words of a command line; behind what has fail(). */
#include <string.h>

typedef struct {
    const char *word;
    int number;
} choice;

static int chosen(const choice *choices, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(choices[i].word, word) == 0)
            return choices[i].number;
    fail(2, "no such method");
    return -1;
}

#define CHOSEN(choices, word) chosen(choices, sizeof(choices) / sizeof *(choices), word)
